//! The one table of error and close codes. The documentation is generated from it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! error_codes {
    ($($number:literal $variant:ident $name:literal $status:literal $retry:literal $text:literal;)*) => {
        /// Why a command or a read was refused. The numbers are in the log for ever; the names are on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $text] $variant = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Whether the same command may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }

            /// What it means, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The code with this number in the log.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    // Refused by the gateway: never became a command.
    1 InvalidFrame "invalid_frame" 400 false "the frame is not a JSON object of the expected shape";
    2 UnknownCommand "unknown_command" 400 false "there is no such command";
    3 InvalidField "invalid_field" 400 false "a field is missing, unknown, of the wrong type or beyond its limit";
    4 Unauthenticated "unauthenticated" 401 false "the token is missing, malformed, expired or signed with another key";
    5 Forbidden "forbidden" 403 false "this token may not do that";
    6 RateLimited "rate_limited" 429 true "too many commands or reads from this session or user; try again after retry_after_ms";
    7 Overloaded "overloaded" 503 true "a queue or the log is full; try again after retry_after_ms";
    8 Unavailable "unavailable" 503 true "a part of the system that this needs is away; try again after retry_after_ms";
    9 OutcomeUnknown "outcome_unknown" 504 true "no outcome was seen in time; resend with the same ref to learn it";
    10 Behind "behind" 503 true "the view has not reached min_position yet; the position it has reached is in the message";
    11 HistoryBehind "history_behind" 503 true "the history is too far behind to answer without a gap; try again after retry_after_ms";
    12 NotFound "not_found" 404 false "there is no such thing, or you may not know of it";
    13 Internal "internal" 500 true "a defect on our side; it has been logged";
    14 TooLarge "too_large" 413 false "the frame or body is larger than 64 KiB";
    15 MalformedRequest "malformed_request" 400 false "the request breaks the rules of HTTP/1.1, or could be read in two ways";
    16 HeadTooLarge "head_too_large" 431 false "the request's head is larger than 16 KiB or has more than 64 headers";
    17 TooSlow "too_slow" 408 true "the request's head or body did not arrive in time";
    // Decided: outcomes in the log.
    100 Undecodable "undecodable" 500 false "the stored record cannot be decoded";
    101 NotMember "not_member" 403 false "only members of the conversation may do that";
    102 AlreadyExists "already_exists" 409 false "the external id belongs to another conversation";
    103 Conflict "conflict" 409 false "the ref was used before with other content";
    104 Expired "expired" 504 true "the command waited too long before it was stored; send it again";
    105 WrongKind "wrong_kind" 409 false "this kind of conversation does not allow that";
    106 TextTooLong "text_too_long" 422 false "the text is longer than the tenant allows";
    107 Rejected "rejected" 422 false "the text contains words that the tenant does not allow";
    108 SeqBeyondEnd "seq_beyond_end" 409 false "the cursor would pass the conversation's last message";
    109 RefsFull "refs_full" 429 true "too many commands of this sender in this conversation within two minutes; slow down";
    110 ImportGap "import_gap" 409 true "an earlier line of this source is missing; send from there again";
    111 UnknownPolicy "unknown_policy" 409 false "no policy with this hash is stored";
    112 TooManyMembers "too_many_members" 409 false "the conversation is full";
    113 PolicyUnavailable "policy_unavailable" 503 true "the tenant's policy is lost or cannot be used: an operator has to set it again";
    114 StaleEvidence "stale_evidence" 503 true "what was looked up for this command is too old by now; send it again";
}

impl ErrorCode {
    /// The number in the log.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ErrorCode {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|code| code.name() == name).ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// A name that is in no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown code `{0}`")]
pub struct UnknownName(String);

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

macro_rules! close_codes {
    ($($number:literal $variant:ident $name:literal $reconnect:literal $text:literal;)*) => {
        /// Why the server closed a socket. 4000 to 4499: reconnect (with jitter); 4500 to 4999: do not, the client must change something first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum CloseCode {
            $(#[doc = $text] $variant = $number,)*
        }

        impl CloseCode {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The close frame's number.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The close frame's reason.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the client should connect again.
            pub const fn reconnect(self) -> bool {
                match self { $(Self::$variant => $reconnect,)* }
            }

            /// What it means, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

close_codes! {
    1000 Normal "normal" false "the client closed";
    1002 Protocol "protocol_error" false "the client broke RFC 6455";
    1003 Unsupported "unsupported" false "binary frames are not understood";
    1007 InvalidUtf8 "invalid_utf8" false "a text message is not UTF-8";
    1009 TooBig "too_big" false "a message is larger than 64 KiB or in more than 1,024 fragments";
    4000 Drain "drain" true "the server is stopping; connect again";
    4001 Resync "resync" true "events were missed and cannot be refilled; connect again and read the history";
    4002 Slow "slow" true "the client reads too slowly; connect again and read the history";
    4003 PingTimeout "ping_timeout" true "nothing was heard from the client for two ping intervals";
    4004 Unavailable "unavailable" true "a part of the system that sessions need is away";
    4500 TokenExpired "token_expired" false "the token has expired; get another one";
    4501 TooManyErrors "too_many_errors" false "the client sent too many malformed frames";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(code.name().parse(), Ok(*code));
        }
    }

    #[test]
    fn close_ranges_tell_the_client_whether_to_reconnect() {
        for code in CloseCode::ALL {
            assert_eq!(code.reconnect(), (4000..4500).contains(&code.number()), "{}", code.name());
        }
    }
}
