//! Files arrive whole or not at all, whatever happens on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use growmerge::checkpoint::{Folder, Place};
use growmerge::hub::{Network, Token, fetch};

use crate::loopback::{Access, Fault, Port};
use crate::world::{Quiet, World, bring, find, noise, quick, tree};

const REPO: &str = "own/model";
const FILE: &str = "model.safetensors";
const LENGTH: usize = 3_000_000;

/// A world with one large file, and its bytes.
fn world() -> (World, Vec<u8>) {
    let (world, bytes) = (World::new(), noise(LENGTH));
    world.hub.repo(REPO).put_lfs(FILE, bytes.clone()).put("config.json", "{}").commit();
    (world, bytes)
}

/// What the cache has of a file that did not arrive.
fn leftovers(world: &World) -> Vec<String> {
    let partly = |f: &String| f.contains("/blobs/") || f.contains("/snapshots/");
    tree(&world.cache()).into_iter().filter(partly).collect()
}

#[test]
fn a_broken_connection_is_continued_where_it_broke() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).cut(1_000_000));
    world.hub.fault(Fault::on(FILE).cut(500_000).times(2));
    let path = bring(&world.client(), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    let ranges = world.reads(FILE);
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert_eq!(ranges[0], None);
    // The server counts what it sent; a client may have been told less of it.
    let begins = |range: &Option<String>| -> usize {
        range.as_ref().unwrap().strip_prefix("bytes=").unwrap().split('-').next().unwrap().parse().unwrap()
    };
    let begun: Vec<usize> = ranges[1..].iter().map(begins).collect();
    assert!(begun.is_sorted() && begun[0] > 0 && begun[2] <= 2_000_000, "{begun:?}");
    assert_eq!(world.hub.faults_left(), 0);
    let left = leftovers(&world);
    assert_eq!(left.len(), 2, "a blob and a link: {left:?}");
    assert!(!left.iter().any(|f| f.ends_with(".incomplete")), "{left:?}");
}

#[test]
fn what_a_call_could_not_finish_the_next_one_does() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).cut(700_000).port(Port::Cdn));
    world.hub.fault(Fault::on(FILE).close().port(Port::Cdn).times(4).after(1));
    let error = bring(&world.client(), REPO, FILE).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    let left = leftovers(&world);
    assert!(left.len() == 1 && left[0].ends_with(".incomplete"), "{left:?}");
    let there = std::fs::metadata(world.cache().join(&left[0])).unwrap().len();
    assert!(there > 0 && there <= 700_000, "{there}");
    world.hub.forget();
    let path = bring(&world.client(), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    assert_eq!(world.reads(FILE), [Some(format!("bytes={there}-{}", LENGTH - 1))]);
}

#[test]
fn wrong_bytes_are_deleted_and_told() {
    for file in [FILE, "config.json"] {
        let (world, _) = world();
        world.hub.fault(Fault::on(file).flip(1));
        let error = bring(&world.client(), REPO, file).unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == 2 && text.contains("not what the Hub lists"), "{text}");
        assert!(text.contains(REPO) && text.contains(file) && text.contains("deleted"), "{text}");
        assert!(leftovers(&world).is_empty(), "{:?}", leftovers(&world));
        bring(&world.client(), REPO, file).unwrap();
    }
}

#[test]
fn a_damaged_beginning_is_thrown_away() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).cut(700_000).port(Port::Cdn));
    world.hub.fault(Fault::on(FILE).close().port(Port::Cdn).times(4).after(1));
    bring(&world.client(), REPO, FILE).unwrap_err();
    let partial = world.cache().join(&leftovers(&world)[0]);
    for damaged in [vec![7; 1000], vec![7; LENGTH], vec![7; LENGTH + 1]] {
        std::fs::write(&partial, damaged).unwrap();
        let path = bring(&world.client(), REPO, FILE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::remove_file(path.canonicalize().unwrap()).unwrap();
    }
}

#[test]
fn faults_that_pass_are_waited_for() {
    let long_ago = "Wed, 21 Oct 2015 07:28:00 GMT";
    for fault in [
        Fault::on(FILE).busy(429, "0"),
        Fault::on(FILE).busy(503, "1"),
        Fault::on(FILE).busy(503, long_ago),
        Fault::on(FILE).status(403).port(Port::Cdn),
        Fault::on(FILE).status(500).times(3),
        Fault::on(FILE).close().times(3),
        Fault::on(FILE).stall(300_000, Duration::from_secs(2)),
        Fault::on(FILE).stall(0, Duration::from_secs(2)),
        Fault::on(FILE).length_off(-1000).port(Port::Cdn),
        Fault::on("/tree/").status(502),
        Fault::on("/revision/").busy(429, "0"),
    ] {
        let (world, bytes) = world();
        world.hub.fault(fault);
        let path = bring(&world.client(), REPO, FILE).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(std::fs::read(path).unwrap(), bytes);
        assert_eq!(world.hub.faults_left(), 0);
        assert!(!leftovers(&world).iter().any(|f| f.ends_with(".incomplete")));
    }
}

#[test]
fn a_server_without_ranges_begins_again() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).cut(1_000_000).port(Port::Cdn));
    world.hub.fault(Fault::on(FILE).ignore_range().port(Port::Cdn));
    let path = bring(&world.client(), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    assert_eq!(world.hub.faults_left(), 0);
}

#[test]
fn a_file_that_never_comes_ends_in_an_error() {
    for (fault, code, told) in [
        (Fault::on(FILE).missing().times(9), 2, "is not there"),
        (Fault::on(FILE).busy(429, "0").times(9), 3, "too many requests"),
        (Fault::on(FILE).close().times(9), 3, "127.0.0.1"),
        (Fault::on(FILE).length_off(5).port(Port::Cdn).times(9), 3, "bytes"),
    ] {
        let (world, _) = world();
        world.hub.fault(fault);
        let error = bring(&world.client(), REPO, FILE).unwrap_err();
        assert!(error.exit_code() == code && error.to_string().contains(told), "{code} {told}: {error}");
        assert!(!leftovers(&world).iter().any(|f| f.contains("/snapshots/")));
    }
}

#[test]
fn a_blob_of_another_length_is_fetched_again() {
    let (world, bytes) = world();
    let path = bring(&world.client(), REPO, FILE).unwrap();
    let blob = path.canonicalize().unwrap();
    std::fs::File::options().write(true).open(&blob).unwrap().set_len(10).unwrap();
    let again = bring(&world.client(), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(again).unwrap(), bytes);
}

#[test]
fn two_at_once_fetch_a_file_once() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).stall(100_000, Duration::from_millis(200)).port(Port::Cdn));
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| bring(&world.client(), REPO, FILE).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(fetched.iter().all(|path| std::fs::read(path).unwrap() == bytes));
    assert_eq!(world.reads(FILE).len(), 1);
}

#[test]
fn a_fetch_that_is_cancelled_keeps_what_it_has() {
    let (world, bytes) = world();
    world.hub.fault(Fault::on(FILE).stall(500_000, Duration::from_millis(300)).port(Port::Cdn));
    let hub = world.client();
    let place = Place { folder: Folder::Remote(find(&hub, REPO).unwrap()), name: FILE.into() };
    let cancel = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| fetch(&[&place], 2, &Quiet, &cancel));
        std::thread::sleep(Duration::from_millis(150));
        cancel.store(true, Ordering::Relaxed);
        fetching.join().unwrap().unwrap_err()
    });
    assert_eq!(error.exit_code(), 130);
    assert!(place.is_away());
    let there = place.arrived();
    assert!(there > 0, "what had come is kept");
    world.hub.forget();
    assert_eq!(std::fs::read(bring(&hub, REPO, FILE).unwrap()).unwrap(), bytes);
    assert_eq!(world.reads(FILE), [Some(format!("bytes={there}-{}", LENGTH - 1))]);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let (world, bytes) = world();
    world.hub.token("hf_secret", "own", Access::Read);
    world.hub.repo(REPO).private("hf_secret");
    let told = bring(&world.client(), REPO, FILE).unwrap_err().to_string();
    assert!(told.contains("private"), "{told}");
    let with = |token: &str| {
        growmerge::hub::Hub::new(world.settings().with_token(Token::parse(token).unwrap()), None, 4)
    };
    let told = bring(&with("hf_wrong"), REPO, FILE).unwrap_err().to_string();
    assert!(!told.contains("hf_wrong"), "{told}");
    world.hub.forget();
    let path = bring(&with("hf_secret"), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    let seen = world.hub.requests();
    assert!(seen.iter().any(|r| r.port == Port::Cdn));
    for request in seen {
        let token = (request.port == Port::Hub).then(|| "Bearer hf_secret".to_owned());
        assert_eq!(request.authorization, token, "{}", request.path);
    }
    // Nor does anything in the cache hold it.
    for file in tree(&world.folder.path().join("cache")) {
        let held = std::fs::read(world.cache().join(&file)).unwrap();
        assert!(!held.windows(9).any(|w| w == b"hf_secret"), "{file}");
    }
}

#[test]
fn names_do_not_lead_out_of_the_cache() {
    let world = World::new();
    for name in ["../evil", "/etc/evil", "a/../../evil", "..\\evil"] {
        let repo = format!("own/model{}", name.len());
        world.hub.repo(&repo).put(name, "x").put("config.json", "{}").commit();
        let told = find(&world.client(), &repo).unwrap_err().to_string();
        assert!(told.contains("could lead out of the cache"), "{name}: {told}");
    }
    for name in ["a/b/c", "../a", "own/..", "./own", "~/model", "own/mo del"] {
        assert!(
            growmerge::plan::Repositories::find(&world.client(), name, None).unwrap().is_none(),
            "{name}"
        );
    }
    let left = tree(world.folder.path());
    assert!(
        left.iter().all(|f| f.starts_with("cache/models--own--model") && f.ends_with("/refs/main")),
        "{left:?}"
    );
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let (world, bytes) = world();
    let offline = || growmerge::hub::Hub::new(world.settings().with_network(Network::Offline), None, 4);
    let error = find(&offline(), REPO).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("growmerge fetch own/model"), "{error}");
    bring(&world.client(), REPO, FILE).unwrap();
    world.hub.forget();
    let path = bring(&offline(), REPO, FILE).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    let error = bring(&offline(), REPO, "config.json").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("not to be used"), "{error}");
    assert!(world.hub.requests().is_empty());
}

#[test]
fn a_hub_that_cannot_be_reached_leaves_what_the_cache_has() {
    let (world, bytes) = world();
    bring(&world.client(), REPO, FILE).unwrap();
    let World { hub, folder } = world;
    let cache = folder.path().join("cache").display().to_string();
    let endpoint = hub.endpoint();
    drop(hub);
    let var = |name: &str| match name {
        "HF_ENDPOINT" => Some(endpoint.clone()),
        "HF_HUB_CACHE" => Some(cache.clone()),
        "HF_HOME" => Some("/nowhere".into()),
        _ => None,
    };
    let settings = growmerge::hub::Settings::from_vars(var).unwrap().with_policy(quick(2));
    let hub = growmerge::hub::Hub::new(settings, None, 4);
    assert_eq!(std::fs::read(bring(&hub, REPO, FILE).unwrap()).unwrap(), bytes);
    assert_eq!(find(&hub, "own/other").unwrap_err().exit_code(), 3);
    let models = [growmerge::recipe::AdapterRef { path: REPO.into(), revision: None }];
    assert_eq!(hub.commits(&models).unwrap_err().exit_code(), 3, "what it was is not what it is");
}

#[test]
fn a_wait_ends_when_it_is_cancelled() {
    let (world, _) = world();
    world.hub.fault(Fault::on(FILE).busy(503, "60").times(3));
    let patient = growmerge::hub::Policy { patience: Duration::from_secs(60), ..quick(4) };
    let hub = growmerge::hub::Hub::new(world.settings().with_policy(patient), None, 4);
    let place = Place { folder: Folder::Remote(find(&hub, REPO).unwrap()), name: FILE.into() };
    let cancel = AtomicBool::new(false);
    let begun = std::time::Instant::now();
    let error = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| fetch(&[&place], 2, &Quiet, &cancel));
        std::thread::sleep(Duration::from_millis(300));
        cancel.store(true, Ordering::Relaxed);
        fetching.join().unwrap().unwrap_err()
    });
    assert_eq!(error.exit_code(), 130);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_was_not_checked_is_not_said_to_have_been() {
    let (world, bytes) = world();
    let hub = world.client();
    let path = bring(&hub, REPO, FILE).unwrap();
    let repo = find(&hub, REPO).unwrap();
    assert!(repo.verified(FILE).is_some());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert!(repo.is_here(FILE) && repo.verified(FILE).is_none(), "a file of somebody else's");
}

#[cfg(unix)]
#[test]
fn notes_are_for_everybody_and_not_needed() {
    use std::os::unix::fs::PermissionsExt;
    let (world, bytes) = world();
    bring(&world.client(), REPO, FILE).unwrap();
    let notes: Vec<String> = tree(&world.cache())
        .into_iter()
        .filter(|f| f.contains("/refs/") || f.contains(".growmerge/"))
        .collect();
    assert!(notes.len() >= 3, "{notes:?}");
    for note in &notes {
        let mode = std::fs::metadata(world.cache().join(note)).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{note}: {mode:o}");
    }
    // Where they cannot be written: a file stands where their folder would be.
    let own = world.cache().join("models--own--model");
    std::fs::remove_dir_all(own.join(".growmerge")).unwrap();
    std::fs::write(own.join(".growmerge"), "").unwrap();
    assert_eq!(std::fs::read(bring(&world.client(), REPO, FILE).unwrap()).unwrap(), bytes);
}
