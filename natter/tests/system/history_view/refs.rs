//! Resends are looked up in the history.

use std::collections::BTreeSet;

use natter_nats::Stored;
use natter_projections::clickhouse::{ClickHouse, RefQuery, find_refs};
use natter_schemas::event::{RefScope, placed};
use natter_schemas::evidence::Answered;
use natter_schemas::names::{Ref, UserId};

use super::{history, insert, log_id};
use crate::generator::Generator;

async fn found(history: &ClickHouse, last: u64, since_ms: u64, queries: &[RefQuery]) -> Vec<Option<Answered>> {
    find_refs(history, 0, last, since_ms, queries).await.unwrap()
}

/// Every ref that the model remembers, with its answer.
fn remembered(generator: &Generator) -> Vec<(RefQuery, Answered)> {
    let mut all = Vec::new();
    for ((tenant, sender, scope), refs) in &generator.model.refs {
        for entry in refs.iter() {
            let (tenant, sender, scope) = (tenant.clone(), sender.clone(), scope.clone());
            let (reference, conversation) = (entry.reference.clone(), entry.answered.conversation);
            all.push((RefQuery { tenant, sender, scope, reference, conversation }, entry.answered.clone()));
        }
    }
    all
}

/// Queries for outcomes whose refs are not remembered: imported lines, cursors, policies, rejections.
fn forgotten(batches: &[Stored], remembered: &[(RefQuery, Answered)]) -> Vec<RefQuery> {
    let known: BTreeSet<&str> = remembered.iter().map(|(query, _)| query.reference.as_str()).collect();
    let mut all = Vec::new();
    for batch in batches {
        for placed in placed(0, batch.sequence, &batch.payload).unwrap() {
            let natter_schemas::outcome::Received::Command(command) = placed.outcome.received.clone() else { continue };
            if known.contains(command.reference.as_str()) {
                continue;
            }
            let conversation = placed.accepted().and_then(|accepted| accepted.accepted.conversation());
            let scope = RefScope::of(&command.body, conversation).unwrap_or(RefScope::User);
            let (tenant, sender, reference) = (command.tenant, command.sender, command.reference);
            all.push(RefQuery { tenant, sender, scope, reference, conversation });
        }
    }
    all
}

/// Invariant 12: a resend gets the first accepted outcome, whatever else has the same ref.
#[tokio::test]
async fn resent_refs_are_found_with_their_first_answer() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(71, 0);
    let batches: Vec<_> = (0..30).map(|_| generator.batch(90)).collect();
    insert(&history, &log, 0, &batches).await;
    let known = remembered(&generator);
    // More than are asked at once.
    assert!(known.len() > 1000, "{} refs", known.len());
    let queries: Vec<_> = known.iter().map(|(query, _)| query.clone()).collect();
    let expected = |last: u64, since_ms: u64| {
        let answer = |(_, answered): &(_, Answered)| {
            (answered.sequence <= last && answered.log_ms >= since_ms).then(|| answered.clone())
        };
        known.iter().map(answer).collect::<Vec<_>>()
    };
    let middle = batches[15].stored_ms;
    for (last, since_ms) in [(30, 0), (12, 0), (30, middle), (0, 0)] {
        assert_eq!(
            found(&history, last, since_ms, &queries).await,
            expected(last, since_ms),
            "to {last} since {since_ms}"
        );
    }
    // Twice in the history is once.
    insert(&history, &log, 0, &batches[..10]).await;
    assert_eq!(found(&history, 30, 0, &queries).await, expected(30, 0));

    let nobody = UserId::try_from("nobody").unwrap();
    let unknown = Ref::try_from("unknown'\\ref").unwrap();
    let mut strangers: Vec<_> =
        queries[..3].iter().cloned().map(|query| RefQuery { sender: nobody.clone(), ..query }).collect();
    strangers.extend(queries[..3].iter().cloned().map(|query| RefQuery { reference: unknown.clone(), ..query }));
    let forgotten = forgotten(&batches, &known);
    assert!(forgotten.len() > 300, "{} outcomes without a ref that counts", forgotten.len());
    strangers.extend(forgotten);
    assert!(found(&history, 30, 0, &strangers).await.iter().all(Option::is_none));
    assert_eq!(found(&history, 30, 0, &[]).await, []);
}
