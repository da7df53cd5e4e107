//! Histories of other systems: a made-up fixture of each format goes into a real system, and what it says is read back.

use std::path::{Path, PathBuf};

use natter_schemas::wire::times::rfc3339;

use crate::import_files::Case;
use crate::observed::{logged, stored, until_history_is_complete};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name)
}

/// A fixture and what must come of it.
struct Format {
    name: &'static str,
    options: &'static [&'static str],
    /// How many lines are told.
    told: u64,
    /// How many of what are lost.
    lost: &'static [(&'static str, u64)],
    room: &'static str,
    /// What the room says in the end.
    said: &'static [&'static str],
}

const CASES: [Format; 7] = [
    Format {
        name: "slack",
        options: &[],
        told: 4,
        lost: &[
            ("direct chats (an import makes public rooms)", 1),
            ("files", 1),
            ("notices (who came and went, topics, pins)", 1),
            ("reactions", 2),
            ("threads: replies, which stand in the room as other messages do", 1),
        ],
        room: "slack-general",
        said: &[
            "ada 2020-01-01T12:00:00.000Z a < b & @Bob, see docs (https://example.org/?a=1&b=2)",
            "bob.b 2020-01-01T12:01:00.000Z in the thread",
            "build-bot 2020-01-02T12:00:00.000Z green",
            "ada 2020-01-02T12:00:01.000Z a file",
        ],
    },
    Format {
        name: "discord.json",
        options: &[],
        told: 2,
        lost: &[
            ("marks of edited messages", 1),
            ("notices (who came, pins, calls, new threads)", 1),
            ("reactions", 3),
            ("replies, which stand in the room as other messages do", 1),
        ],
        room: "discord-general",
        said: &["ada 2020-01-01T12:00:00.123Z hi @Bobby", "bob.1234 2020-01-01T12:01:00.000Z ho"],
    },
    Format {
        name: "WhatsApp Chat with Tea.txt",
        options: &["--zone", "Europe/Berlin"],
        told: 3,
        lost: &[("media", 1), ("notices of WhatsApp (who came and went, encryption)", 2)],
        room: "Tea",
        said: &[
            "ada-lovelace 2020-12-31T22:59:00.000Z one\n\nthree",
            "bob 2020-12-31T22:59:00.000Z a caption",
            "bob 2020-12-31T23:00:00.000Z happy new year",
        ],
    },
    Format {
        name: "_chat.txt",
        options: &["--room", "iOS tea"],
        told: 2,
        lost: &[("media", 1), ("notices of WhatsApp (who came and went, encryption)", 1)],
        room: "iOS tea",
        said: &["ada-lovelace 2020-12-31T23:59:58.000Z one\ntwo", "bob 2021-01-01T00:00:01.000Z three"],
    },
    Format {
        name: "#irssi.log",
        options: &[],
        told: 4,
        lost: &[
            ("changes of nick (the new nick is another user)", 1),
            ("codes of colour and style", 2),
            ("notices of the server (who came and went, modes, topics)", 2),
        ],
        room: "#irssi",
        said: &[
            "ada 2020-01-01T23:50:00.000Z hello all",
            "bob 2020-01-01T23:51:00.000Z hi > there",
            "ada 2020-01-01T23:52:00.000Z * Ada waves",
            "ada 2020-01-02T00:01:00.000Z and on",
        ],
    },
    Format {
        name: "irc.libera.#weechat.weechatlog",
        options: &[],
        told: 2,
        lost: &[("notices of the server (who came and went, modes, topics)", 1)],
        room: "#weechat",
        said: &["ada 2020-01-01T12:34:00.000Z tabs\tstay", "bob 2020-01-01T12:36:00.000Z * bob waves"],
    },
    Format {
        name: "mattermost.jsonl",
        options: &[],
        told: 2,
        lost: &[
            ("direct messages (an import makes public rooms)", 1),
            ("messages in private channels", 1),
            ("private channels (an import makes public rooms)", 1),
            ("reactions", 1),
            ("threads: replies, which stand in the room after what they answer", 1),
        ],
        room: "town-square",
        said: &["ada 2020-01-01T12:00:00.123Z hi", "bob 2020-01-01T12:00:01.000Z ho"],
    },
];

#[tokio::test]
async fn a_history_of_each_format_comes_in() {
    let case = Case::new().await;
    for Format { name, options, told, lost, .. } in CASES {
        let imported = case.import(&fixture(name), options).await;
        assert_eq!((imported.status, imported.counts()), (Some(0), (told, 0, 0)), "{name}: {}", imported.said);
        let said = imported.summary["lost"].as_object().unwrap();
        let said: Vec<_> = said.iter().map(|(what, count)| (what.as_str(), count.as_u64().unwrap())).collect();
        assert_eq!(said, lost, "{name}");
        assert_eq!(case.import(&fixture(name), options).await.counts(), (0, told, 0), "{name} again");
    }
    until_history_is_complete(&case.process).await;
    for rooms in [logged(&case.process).await, stored(&case.process).await] {
        for Format { name, room, said: wanted, .. } in CASES {
            let said = |message: &crate::history::Message| {
                format!("{} {} {}", message.user, rfc3339(message.at_ms), message.text)
            };
            assert_eq!(rooms[room].iter().map(said).collect::<Vec<_>>(), wanted, "{name}");
        }
        assert_eq!(rooms.len(), CASES.len(), "no private room came in: {:?}", rooms.keys());
    }
    // People are called as they were: by the first source that names them.
    let names = case.process.clickhouse().query("SELECT user, name FROM natter.users ORDER BY user");
    let names: Vec<(String, String)> = names.fetch_all().await.unwrap();
    let names: Vec<_> = names.iter().map(|(user, name)| (user.as_str(), name.as_str())).collect();
    let wanted = [
        ("ada", "Ada L."),
        ("ada-lovelace", "Ada Lovelace"),
        ("bob", "Bob"),
        ("bob.1234", "Bob"),
        ("bob.b", "Bob"),
        ("build-bot", "Build Bot"),
    ];
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn the_command_says_what_was_lost() {
    let case = Case::new().await;
    let printed = case.process.ask(&["import", fixture("discord.json").to_str().unwrap()]).await;
    assert!(printed.contains("not imported from the history, written in the format discord:\n"), "{printed}");
    assert!(printed.contains("  reactions: 3\n"), "{printed}");
    let chat = case.file("chat.txt", "1/2/20, 11:59 - Ada: hi\n1/3/20, 11:59 - Ada: hi\n");
    let ambiguous = case.import(&chat, &[]).await;
    assert_eq!(ambiguous.status, Some(1));
    assert!(ambiguous.said.contains("--dates dmy or --dates mdy"), "{}", ambiguous.said);
    assert_eq!(case.import(&chat, &["--dates", "mdy"]).await.counts(), (2, 0, 0));
}
