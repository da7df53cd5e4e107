// What the user looks at: the list, one open conversation, its members; and what reads say about them.

import * as connection from "./connection.js";
import { conversationOf, fold, merge, messageOf, titleOf_ } from "./conversations.js";
