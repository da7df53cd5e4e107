//! RFC 6455, by cases of our own for each of the Autobahn test suite's sections 1 to 7 and 10, under that suite's ids. (The suite
//! itself tests echo servers, and its newest release on PyPI, 25.10.1, installs on Python 3.11 but does not start there: its
//! imports are those of Python 2.)
//!
//! Natter is no echo server: it speaks JSON text. So what the suite's echo proves is proved by the answer: a text message is a command
//! that there is not, whose `id` is the case's payload, and comes back in the refusal; a payload that cannot stand in JSON comes
//! bare, and is answered as no frame.
//!
//! | cases | | here |
//! | --- | --- | --- |
//! | 1.1.1 to 1.1.8, 5.3 to 5.8, 5.19, 5.20, 6.1, 6.2, 6.5 to 6.23 (valid), 10.1.1 | echo of text | answered with the payload |
//! | 1.2.1 to 1.2.8 | echo of binary | cannot apply: no binary command exists, closed with 1003 at the head |
//! | 2, 3, 4, 5.1, 5.2, 5.9 to 5.18, 6.3, 6.4, 6.5 to 6.23 (invalid), 7 | control frames, errors, closing | as in the suite; strict where it allows two ways |
//! | 6.4.1 to 6.4.4 | fails fast or at the end | at once, before the message ends |
//! | 7.1.6 | 256 KiB, then a close | 60 KiB, for a message has at most 64 |
//! | 7.7.1 to 7.7.13 | closed with 1000 or the code echoed | 1000 |
//! | 7.13.1, 7.13.2 | informational | closed with 1002 |
//! | 9, 12, 13 | load; compression | not here: `natter bench`; no extension is ever agreed on |

mod case;
mod closing;
mod framing;
mod texts;

use std::collections::BTreeMap;

use futures_util::StreamExt as _;

use crate::gateway::world::World;
use case::Case;

/// Cases at a time.
const AT_ONCE: usize = 16;

fn cases() -> Vec<Case> {
    [framing::cases(), texts::cases(), closing::cases()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_suite_has_its_end() {
    let world = World::start().await;
    let (address, token) = (world.address, world.token("ada"));
    let ran = futures_util::stream::iter(cases()).map(|case| {
        let token = token.clone();
        async move { case.run(address, &token).await.err().map(|wrong| format!("{}: {wrong}", case.id)) }
    });
    let wrong: Vec<String> = ran.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    assert!(wrong.is_empty(), "{} cases fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// As many as in the suite, and each once.
#[test]
fn no_case_of_the_suite_is_missing() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: Vec<String> = cases().into_iter().map(|case| case.id).collect();
    for id in &ids {
        let section = id.split('.').next().unwrap_or_default();
        *counts.entry(section.to_owned()).or_default() += 1;
    }
    let expected = [("1", 16), ("10", 1), ("2", 11), ("3", 7), ("4", 10), ("5", 20), ("6", 145), ("7", 37)];
    assert_eq!(counts, expected.map(|(section, count)| (section.to_owned(), count)).into());
    ids.sort();
    assert!(ids.windows(2).all(|two| two[0] != two[1]), "an id is there twice");
}
