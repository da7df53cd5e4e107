//! The archiver beside the views: nothing is trimmed that is not in the bucket and in both of them.

use std::time::Duration;

use natter::backends::{Backend, S3};
use natter_nats::clock::SystemClock;
use natter_nats::{Archive as _, Stored};
use natter_projections::archive::{Archiver, Closing, Segments};
use natter_projections::error::ViewError;
use natter_projections::objects::{Objects, ObjectsConfig};
use natter_projections::redis::RedisProjector;
use natter_projections::runner::{Projector as _, Steps};
use natter_schemas::subjects::outcome_stream;

use super::{World, history};
use crate::servers::{self, Servers};

const ALL: Closing = Closing { bytes: 16 << 10, age: Duration::ZERO, keep: Duration::ZERO };

async fn objects(service: S3, bucket: &str) -> Objects {
    let objects = Objects::new(&ObjectsConfig {
        endpoint: service.endpoint,
        region: service.region,
        bucket: bucket.to_owned(),
        access_key: service.access_key,
        secret_key: service.secret_key,
    });
    objects.make().await.unwrap();
    objects
}

fn archiver(world: &World, segments: &Segments, closing: Closing) -> Archiver {
    let (log, redis, history) = (world.log.clone(), world.redis.clone(), world.history.clone());
    Archiver::new(log, segments.clone(), redis, history, closing, SystemClock::shared())
}

async fn first_kept(world: &World) -> u64 {
    world.log.bounds(&outcome_stream(0)).await.unwrap().first
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_what_a_view_lacks_and_what_is_young() {
    let s3 = servers::s3().await;
    let mut world = World::new(281, 1).await;
    let segments = Segments::new(objects(s3.service, &s3.bucket).await, world.log.id().clone());
    world.write(12, 60).await;
    world.insert_all_but(5).await;

    // Archived all, trimmed as far as the history is.
    let caught = archiver(&world, &segments, ALL).catch_up(0).await.unwrap();
    assert!(caught.segments > 1 && caught.object_bytes > 0, "{caught:?}");
    assert_eq!((segments.end(0).await.unwrap(), caught.trimmed, first_kept(&world).await), (12, 7, 8));

    // Redis lacks the last two, the history has all.
    world.log_only(2, 60).await;
    world.insert_all_but(0).await;
    let caught = archiver(&world, &segments, ALL).catch_up(0).await.unwrap();
    assert_eq!((caught.trimmed, first_kept(&world).await), (5, 13));

    let lacked = Steps { log: world.log.id(), partition: 0, after: 12, batches: &world.partitions[0].batches[12..] };
    RedisProjector::new(world.redis.clone()).apply(lacked).await.unwrap();

    // What is to be kept is kept, and what is neither old nor enough is not closed.
    let keeping = Closing { keep: Duration::from_hours(1), ..ALL };
    world.write(2, 10).await;
    world.insert_all_but(0).await;
    assert_eq!(archiver(&world, &segments, keeping).catch_up(0).await.unwrap().trimmed, 0);
    let waiting = Closing { bytes: 64 << 20, age: Duration::from_hours(1), ..ALL };
    world.write(1, 10).await;
    assert_eq!(archiver(&world, &segments, waiting).catch_up(0).await.unwrap().segments, 0);

    // The archive gives the very batches that were written.
    let written: Vec<Stored> = world.partitions[0].batches.clone();
    let mut read: Vec<Stored> = Vec::new();
    while read.len() < 16 {
        let more = segments.read(0, read.len() as u64 + 1).await.unwrap();
        assert!(!more.is_empty());
        read.extend(more);
    }
    for (read, written) in read.iter().zip(&written) {
        assert_eq!((read.sequence, &read.payload, read.records), (written.sequence, &written.payload, written.records));
    }
    assert_eq!(segments.read(0, 17).await.unwrap(), []);
}

/// While the bucket is away nothing is trimmed and nothing is forgotten; two who archive at once do no harm.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_costs_nothing_but_time() {
    let servers = Servers::with(vec![Backend::Nats, Backend::Redis, Backend::S3]).await;
    let objects = objects(servers.s3(), "natter").await;
    let mut world = World::on(servers, history().await, 283, 1).await;
    let segments = Segments::new(objects.clone(), world.log.id().clone());
    world.write(6, 60).await;
    world.insert_all_but(0).await;
    let one = archiver(&world, &segments, ALL);

    world.servers.take_away(Backend::S3).await;
    let away = one.catch_up(0).await.unwrap_err();
    assert!(matches!(away, ViewError::Transient(_)), "{away}");
    assert_eq!(first_kept(&world).await, 1);

    world.servers.bring_back(Backend::S3).await;
    let fresh = || Segments::new(objects.clone(), world.log.id().clone());
    let (one, two) = (archiver(&world, &fresh(), ALL), archiver(&world, &fresh(), ALL));
    let (one, two) = tokio::join!(one.catch_up(0), two.catch_up(0));
    one.unwrap();
    two.unwrap();
    assert_eq!((fresh().end(0).await.unwrap(), first_kept(&world).await), (6, 6));
}

/// An archive that does not reach the log's begin is not archived on: what lies between would be lost silently.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_does_not_meet_the_log_stops_the_partition() {
    let s3 = servers::s3().await;
    let mut world = World::new(284, 1).await;
    let segments = Segments::new(objects(s3.service.clone(), &s3.bucket).await, world.log.id().clone());
    world.write(6, 60).await;
    world.insert_all_but(0).await;
    archiver(&world, &segments, ALL).catch_up(0).await.unwrap();
    world.write(2, 60).await;
    let other = Segments::new(objects(s3.service, &format!("{}-other", s3.bucket)).await, world.log.id().clone());
    let stopped = archiver(&world, &other, ALL).catch_up(0).await.unwrap_err();
    assert!(
        matches!(&stopped, ViewError::Corrupt(text) if text.contains("ends at 0") && text.contains("begins at 6")),
        "{stopped}"
    );
}
