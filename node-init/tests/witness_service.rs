//! The witness as nodes and operators see it: a real process, real TLS, a real disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use common::{A, LIMIT, Place, adopt, changed, current, key, pair, swap};
use node_init::witness::client::http::{Http, Target};
use node_init::witness::client::witness::WitnessClient;
use node_init::witness::client::{AskError, Keeper, blocking, pin};
use node_init::witness::identity::Fingerprint;
use pair_core::record::{Claim, DiskId, Epoch, Holder, Refusal, Side, Swap};
use witness_protocol::{Answer, Ask, Audience, Request, Seen, Verdict};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn status_of(error: AskError) -> u16 {
    match error {
        AskError::Refused { status, .. } => status,
        other => panic!("{other}"),
    }
}

#[test]
fn the_life_of_a_pair() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    run(async {
        let mut a = witness.client(&key);
        assert_eq!(status_of(a.read(None, LIMIT).await.unwrap_err()), 401, "a stranger");
        place.enrol(&[Arc::clone(&key)]);
        let mut b = witness.client(&key);
        let unknown = current(&mut a).await;
        assert_eq!((unknown.epoch, unknown.holder), (Epoch(0), Holder::Unknown));
        let refused = a.claim(&swap(&unknown, Side::A, Claim::Solo), LIMIT).await.unwrap();
        assert_eq!(refused, Verdict::Refused(Refusal::HolderUnknown { current: unknown }));

        let paired = changed(&mut a, &adopt(&unknown, Side::A)).await;
        let solo = changed(&mut b, &swap(&paired, Side::B, Claim::Solo)).await;
        let refused = a.claim(&swap(&paired, Side::A, Claim::Solo), LIMIT).await.unwrap();
        assert_eq!(refused, Verdict::Refused(Refusal::Moved { current: solo }));
        let refused = a.claim(&swap(&solo, Side::A, Claim::Solo), LIMIT).await.unwrap();
        assert_eq!(refused, Verdict::Refused(Refusal::PeerIsSolo { current: solo }));
        let again = changed(&mut b, &pair(&solo, Side::B)).await;
        assert_eq!((again.epoch, again.holder), (Epoch(3), paired.holder));

        // An orderly end and a new start change nothing.
        assert_eq!(witness.stop(), Some(0));
        let witness = place.serve();
        assert_eq!(current(&mut witness.client(&key)).await, again);
    });
}

/// Both nodes ask at the same instant, many times: exactly one wins each time.
#[test]
fn a_race_has_one_winner() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let (mut a, mut b) = (witness.client(&key), witness.client(&key));
        let unknown = current(&mut a).await;
        let mut record = changed(&mut a, &adopt(&unknown, Side::A)).await;
        for _ in 0..50 {
            let (for_a, for_b) = (swap(&record, Side::A, Claim::Solo), swap(&record, Side::B, Claim::Solo));
            let (won_a, won_b) = tokio::join!(a.claim(&for_a, LIMIT), b.claim(&for_b, LIMIT));
            let (won_a, won_b) = (won_a.unwrap(), won_b.unwrap());
            let winners = [won_a, won_b].into_iter().filter(|v| matches!(v, Verdict::Changed(_))).count();
            assert_eq!(winners, 1, "{won_a:?} {won_b:?}");
            assert_eq!(won_a.record(), won_b.record());
            let Holder::Solo { side, .. } = won_a.record().holder else { panic!("{won_a:?}") };
            record = changed(&mut a, &pair(&won_a.record(), side)).await;
        }
    });
}

/// The same bytes a second time: on the same connection, on another one, and after a new start.
#[test]
fn a_recorded_claim_is_refused() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let mut a = witness.client(&key);
        let unknown = current(&mut a).await;
        let tls = pin::config(witness.fingerprint).unwrap();
        let target = Target::parse(&witness.url, false).unwrap();
        let mut http = Http::open(&target, Some(&tls)).await.unwrap();
        let audience = Audience { witness: witness.fingerprint.0, channel: http.channel.unwrap() };
        let request =
            Request { pair: key.id(), id: [7; 16], sequence: 1, ask: Ask::Swap(adopt(&unknown, Side::A)) };
        let bytes = request.seal(&key, &audience);

        let answer = http.post("it", "/v1/record", &[], bytes.clone(), 1000).await.unwrap();
        assert!(matches!(Answer::decode(&answer).unwrap().verdict, Verdict::Changed(_)));
        let again = http.post("it", "/v1/record", &[], bytes.clone(), 1000).await.unwrap_err();
        assert_eq!(status_of(again), 401);
        let mut other = Http::open(&target, Some(&tls)).await.unwrap();
        assert_ne!(other.channel, http.channel);
        let elsewhere = other.post("it", "/v1/record", &[], bytes.clone(), 1000).await.unwrap_err();
        assert_eq!(status_of(elsewhere), 401);
        witness.kill();
        let witness = place.serve();
        let target = Target::parse(&witness.url, false).unwrap();
        let mut later = Http::open(&target, Some(&tls)).await.unwrap();
        assert_eq!(status_of(later.post("it", "/v1/record", &[], bytes, 1000).await.unwrap_err()), 401);
        assert_eq!(current(&mut witness.client(&key)).await.epoch, Epoch(1));
    });
}

#[test]
fn only_the_pinned_key_is_believed() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let mut wrong = witness.fingerprint;
        wrong.0[31] ^= 1;
        let mut client = Keeper::Witness(WitnessClient::new(&witness.url, wrong, key.clone()).unwrap());
        let error = client.read(None, LIMIT).await.unwrap_err();
        assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
        assert!(current(&mut witness.client(&key)).await.holder == Holder::Unknown);
    });
    assert!(WitnessClient::new("http://127.0.0.1:1", witness.fingerprint, key.clone()).is_err());
    assert!(WitnessClient::new("https://user@127.0.0.1:1", witness.fingerprint, key.clone()).is_err());
    assert!(WitnessClient::new("https://127.0.0.1:1/path", witness.fingerprint, key).is_err());
}

#[test]
fn rubbish_is_refused_and_survived() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let tls = pin::config(witness.fingerprint).unwrap();
        let target = Target::parse(&witness.url, false).unwrap();
        for (path, body, status) in [
            ("/v1/record", vec![], 400),
            ("/v1/record", vec![0xff; 200], 400),
            ("/v1/record", vec![0x45; 1 << 20], 400),
            ("/metrics", vec![], 404),
            ("/command", b"{\"command\":\"restored\"}".to_vec(), 404),
        ] {
            let mut http = Http::open(&target, Some(&tls)).await.unwrap();
            // The connection may break while a body that is too long is still on its way.
            match http.post("it", path, &[], body, 1000).await.unwrap_err() {
                AskError::Refused { status: got, .. } => assert_eq!(got, status, "{path}"),
                other => assert!(matches!(other, AskError::Http(_)), "{other}"),
            }
        }
        // Not even TLS.
        let address = witness.url.strip_prefix("https://").unwrap();
        let mut plain = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut plain, b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(current(&mut witness.client(&key)).await.epoch, Epoch(0));
    });
}

#[test]
fn a_noisy_pair_and_a_noisy_address_are_slowed_down() {
    let place = Place::new();
    let mut command = place.command("serve");
    command.args(["--listen", "127.0.0.1:0", "--pair-rate", "1", "--address-rate", "1"]);
    let witness = common::Witness::start(command).unwrap();
    let keys = [key(1), key(2), key(3)];
    place.enrol(&keys);
    run(async {
        let mut noisy = witness.client(&keys[0]);
        let mut other = witness.client(&keys[1]);
        let mut limited = 0;
        for _ in 0..10 {
            if let Err(error) = noisy.read(None, LIMIT).await {
                assert_eq!(status_of(error), 429);
                limited += 1;
            }
        }
        // A burst of six, and a little more in the time this takes.
        assert!((2..=4).contains(&limited), "{limited}");
        assert!(other.read(None, LIMIT).await.is_ok(), "another pair at the same address goes on");
        let mut refused = 0;
        for _ in 0..20 {
            let result = witness.client(&keys[2]).read(None, LIMIT).await;
            refused += u32::from(matches!(result, Err(AskError::Unreachable { .. })));
        }
        // Of a burst of ten, two went to the open connections.
        assert!((8..=12).contains(&refused), "{refused} of 20 new connections were refused");
        assert!(other.read(None, LIMIT).await.is_ok(), "the open connection is not touched");
    });
}

/// The handler has two seconds. Whatever the network does, it gets its answer or its error in time.
#[test]
fn the_time_limit_holds_against_a_silent_witness() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut client = Keeper::Witness(WitnessClient::new(&url, Fingerprint([0; 32]), key(1)).unwrap());
    let watch = node_init::witness::metrics::Stopwatch::start();
    let claim = Swap {
        lineage: pair_core::record::Lineage([0; 16]),
        expect: Epoch(1),
        side: Side::A,
        disk: A,
        claim: Claim::Solo,
    };
    let limit = Duration::from_millis(300);
    let error = blocking(async move { client.claim(&claim, limit).await }).unwrap_err();
    assert!(matches!(error, AskError::TimedOut(_)), "{error}");
    let took = watch.elapsed();
    assert!(took >= limit && took < limit * 4, "{took:?}");
    drop(listener);
    let mut client = Keeper::Witness(WitnessClient::new(&url, Fingerprint([0; 32]), key(1)).unwrap());
    let error = blocking(async move { client.read(None, limit).await }).unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
}

/// A node that remembers more than the witness proves that the witness went back in time.
#[test]
fn a_rolled_back_witness_is_found_out_by_a_node() {
    let place = Place::new();
    let witness = place.serve();
    let keys = [key(1), key(2)];
    place.enrol(&keys);
    run(async {
        let mut a = witness.client(&keys[0]);
        let unknown = current(&mut a).await;
        let paired = changed(&mut a, &adopt(&unknown, Side::A)).await;
        let same = Seen { lineage: paired.lineage, epoch: paired.epoch };
        assert_eq!(a.read(Some(same), LIMIT).await.unwrap(), Verdict::Current(paired));
        let foreign = Seen { lineage: pair_core::record::Lineage([9; 16]), epoch: Epoch(99) };
        assert_eq!(a.read(Some(foreign), LIMIT).await.unwrap(), Verdict::Current(paired));

        let later = Seen { epoch: Epoch(2), ..same };
        let record = a.read(Some(later), LIMIT).await.unwrap().record();
        assert_eq!(record.holder, Holder::Unknown);
        assert_ne!(record.lineage, paired.lineage);

        // The same by a claim; and the other pair is not touched by it.
        let mut b = witness.client(&keys[1]);
        let unknown = current(&mut b).await;
        let paired = changed(&mut b, &adopt(&unknown, Side::A)).await;
        let early = Swap { expect: Epoch(7), ..swap(&paired, Side::A, Claim::Solo) };
        let verdict = b.claim(&early, LIMIT).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(Refusal::WitnessBehind { current: paired }));
        assert_eq!(current(&mut b).await.holder, Holder::Unknown);
        assert_eq!(current(&mut a).await, record);
    });
}

/// Forgetting and enrolling again must not give the same epochs of the same lineage a second time.
#[test]
fn a_forgotten_pair_comes_back_under_another_lineage() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let mut a = witness.client(&key);
        let first = current(&mut a).await;
        changed(&mut a, &adopt(&first, Side::A)).await;
        assert!(place.command("forget").args(["--name", "pair-0"]).status().unwrap().success());
        assert_eq!(status_of(a.read(None, LIMIT).await.unwrap_err()), 401);
        assert!(!place.command("forget").args(["--name", "pair-0"]).status().unwrap().success());
        place.enrol(&[Arc::clone(&key)]);
        let second = current(&mut a).await;
        assert_eq!((second.epoch, second.holder), (Epoch(0), Holder::Unknown));
        assert_ne!(second.lineage, first.lineage);
    });
}

#[test]
fn enrolment_is_all_or_nothing_and_refuses_what_is_taken() {
    let place = Place::new();
    let witness = place.serve();
    place.enrol(&[key(1)]);
    let enrol = |name: &str, n: usize| {
        let id = key(n).id().to_string();
        place.command("enrol").args(["--name", name, "--key", &id]).output().unwrap()
    };
    let again = enrol("pair-0", 1);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains("0 enrolled, 1 were"));
    assert!(!enrol("pair-0", 2).status.success(), "the name is taken");
    assert!(!enrol("other", 1).status.success(), "the key is taken");
    assert!(!enrol("two words", 3).status.success());
    let list = place.data().join("list");
    let text = format!("new {}\npair-0 {}\n", key(4).id(), key(5).id());
    std::io::Write::write_all(&mut std::fs::File::create(&list).unwrap(), text.as_bytes()).unwrap();
    assert!(!place.command("enrol").arg("--from").arg(&list).status().unwrap().success());
    let status = place.command("status").args(["--json", "--pairs"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["list"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["pairs"]["unknown"], 1);
    // Where no witness runs, the same commands work on the database itself.
    witness.stop();
    assert!(enrol("other", 2).status.success());
    let status = place.command("status").args(["--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["pairs"]["unknown"], 2);
}

#[test]
fn a_second_witness_on_the_same_database_is_refused() {
    let place = Place::new();
    let witness = place.serve();
    assert!(common::Witness::start(place.serve_command()).is_none());
    assert_eq!(witness.stop(), Some(0));
    assert!(common::Witness::start(place.serve_command()).is_some());
}

#[test]
fn metrics_count_what_happened() {
    let place = Place::new();
    let mut command = place.serve_command();
    command.args(["--metrics-listen", "127.0.0.1:0"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()))
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("witness on"))
        .collect();
    let address = lines.iter().find_map(|l| l.strip_prefix("metrics on http://")).unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    place.enrol(&[key(1), key(2)]);
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request).unwrap();
    let mut page = String::new();
    std::io::Read::read_to_string(&mut stream, &mut page).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(page.contains("edgepair_witness_pairs{holder=\"unknown\"} 2\n"), "{page}");
    assert!(page.contains("edgepair_witness_commit_seconds_count 1\n"), "{page}");
    assert!(page.contains("# TYPE edgepair_witness_requests_total counter\n"), "{page}");
}

/// A cloned card asks with the right key and another disk.
#[test]
fn a_clone_is_not_the_node() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let mut a = witness.client(&key);
        let unknown = current(&mut a).await;
        let paired = changed(&mut a, &adopt(&unknown, Side::A)).await;
        let clone = Swap { disk: DiskId([0xc; 16]), ..swap(&paired, Side::A, Claim::Solo) };
        let refused = a.claim(&clone, LIMIT).await.unwrap();
        assert_eq!(refused, Verdict::Refused(Refusal::NotMyDisk { current: paired }));
    });
}
