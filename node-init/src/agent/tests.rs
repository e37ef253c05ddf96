//! Two agents in one process, with a real channel between them, over a scripted world.

mod hands;
mod world;

use super::config::Config;
use super::control::{Asked, Reply, Request};
use super::engine::{Boot, Input, Started, start};
use super::peer;
use crate::update::driver::said::Start;
use edgepair_render::{Facts, render};
use edgepair_seed::{Companions, Input as SeedInput, Member, check};
use edgepair_status::{Role, Status};
use pair_core::record::DiskId;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use world::World;

const SEED: &str = include_str!("../../../libs/seed/tests/seeds/minimal.toml");
/// Nothing here takes a tenth of it; a machine that is busy may.
const LIMIT: Duration = Duration::from_secs(120);

fn config(member: &str, secret: &str) -> Config {
    let text = SEED.split("[failover").next().unwrap();
    let text = format!("{text}\n[failover]\nmode = \"manual\"\n");
    let companions = Companions::load(&text, |_| Ok(secret.to_owned()));
    let input = SeedInput { name: "seed.toml", text: &text, companions: &companions, disk: None };
    let (seed, report) = check(&input);
    let seed = seed.unwrap_or_else(|| panic!("{}", report.render_short()));
    let member = Member::parse(member).unwrap();
    let rendered = render(&seed, &member, &Facts::assumed(&seed, &member)).unwrap();
    let mut config = Config::new(&seed, &member, &rendered, "eth0".to_owned()).unwrap();
    config.again = Duration::from_millis(50);
    config.well = Duration::from_secs(2);
    config
}

/// One running agent.
struct Running {
    asked: mpsc::Sender<Asked>,
}

impl Running {
    async fn ask(&self, request: Request) -> Reply {
        let (reply, receiver) = oneshot::channel();
        self.asked.send(Asked { request, body: None, reply }).await.unwrap();
        receiver.await.unwrap()
    }

    async fn status(&self) -> Status {
        match self.ask(Request::Status).await {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }
}

async fn live(started: Started, mut asked: mpsc::Receiver<Asked>) {
    let Started { mut agent, mut inputs } = started;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let input = tokio::select! {
            _ = tick.tick() => Input::Tick,
            Some(asked) = asked.recv() => Input::Asked(asked),
            Some(input) = inputs.recv() => input,
        };
        agent.take(input);
        assert_eq!(agent.failed(), None);
    }
}

/// Starts both agents; `secrets` are the pair secrets that they have.
async fn both(world: &World, secrets: [&str; 2]) -> [Running; 2] {
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    }
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let mut running = Vec::new();
    for (at, listener) in listeners.into_iter().enumerate() {
        let mut config = config(["a", "b"][at], secrets[at]);
        config.peer.peers = vec![addresses[1 - at]];
        let boot = Boot {
            disk: DiskId([at as u8 + 1; 16]),
            moved: None,
            version: "1.0".to_owned(),
            slot: Some("A".to_owned()),
        };
        let started = start(config, boot, world.ports(at), Some(listener)).unwrap();
        let (asked, receiver) = mpsc::channel(4);
        spawn_local(live(started, receiver));
        running.push(Running { asked });
    }
    let b = running.pop().unwrap();
    [running.pop().unwrap(), b]
}

/// Runs one boot of both nodes, which ends when `scene` does, as by a power cut.
fn boot<T>(world: &World, secrets: [&str; 2], scene: impl AsyncFnOnce(&[Running; 2]) -> T) -> T {
    world.boot();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let set = LocalSet::new();
    let result = set.block_on(&runtime, async {
        let nodes = both(world, secrets).await;
        timeout(LIMIT, scene(&nodes)).await
    });
    drop(set);
    runtime.shutdown_timeout(Duration::from_secs(10));
    match result {
        Ok(result) => result,
        Err(_) => panic!("not within {LIMIT:?}; calls:\n{}", world.lock().calls.join("\n")),
    }
}

/// A box of a later version, whose greeting has fields that this one does not know.
#[test]
fn a_peer_of_another_protocol_is_named_and_never_met() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.boot();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = config("a", SECRET);
        config.peer.peers = Vec::new();
        let (key, side) = (config.peer.key, config.side);
        let boot = Boot {
            disk: DiskId([1; 16]),
            moved: None,
            version: "1.0".to_owned(),
            slot: Some("A".to_owned()),
        };
        let started = start(config, boot, world.ports(0), Some(listener)).unwrap();
        let (asked, receiver) = mpsc::channel(4);
        spawn_local(live(started, receiver));
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut later = peer::noise::Speaker::open(stream, &key, !side).await.unwrap();
        let greeting = br#"{"greeting":{"protocol":99,"hull":"steel"}}"#;
        later.say(greeting, Duration::from_secs(5)).await.unwrap();
        let node = Running { asked };
        let wait = async {
            loop {
                let status = node.status().await;
                if status.problems.iter().any(|problem| problem.contains("speaks version 99")) {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, wait).await.expect("the other version is named")
    });
    assert_eq!(status.role, Role::Waiting);
    assert_eq!((world.count("connect"), world.count("mkfs")), (0, 0));
}

async fn formed(nodes: &[Running; 2]) -> [Status; 2] {
    loop {
        let status = [nodes[0].status().await, nodes[1].status().await];
        if status.iter().all(Status::formed) {
            return status;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

#[test]
fn two_new_boxes_form_a_pair_switch_over_and_stay_so_over_a_reboot() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    boot(&world, [SECRET; 2], async |nodes| {
        let [a, b] = formed(nodes).await;
        assert_eq!((a.role, b.role), (Role::Active, Role::Standby));
        assert!(a.problems.is_empty() && b.problems.is_empty(), "{a:?} {b:?}");
        assert_eq!(nodes[0].ask(Request::Switchover).await, Reply::Accepted);
        loop {
            let [a, b] = formed(nodes).await;
            if b.role == Role::Active {
                assert_eq!(a.role, Role::Standby);
                break;
            }
        }
        // The one that is not active has nothing to hand over.
        assert!(matches!(nodes[0].ask(Request::Switchover).await, Reply::Refused(_)));
    });
    boot(&world, [SECRET; 2], async |nodes| {
        let [a, b] = formed(nodes).await;
        assert_eq!((a.role, b.role), (Role::Standby, Role::Active), "who was active last is active again");
    });
    assert_eq!(world.count("mkfs.ext4"), 1);
    assert_eq!(world.count("new-current-uuid"), 1);
    assert_eq!(world.count("ALTER ROLE"), 1);
    assert_eq!(world.count("a: sql CHECKPOINT"), 1);
    let calls = world.lock().calls.join("\n");
    let password = config("a", SECRET).database_password().to_owned();
    assert!(!calls.contains(&password) && !calls.contains(SECRET), "a secret in a command or statement");
    assert_eq!(world.lock().violations, [""; 0]);
}

#[test]
fn a_standby_takes_leave_before_it_goes_down_and_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    boot(&world, [SECRET; 2], async |nodes| {
        formed(nodes).await;
        assert!(matches!(nodes[0].ask(Request::Leave).await, Reply::Refused(_)), "a is active");
        let before = world.count("b: drbdadm connect");
        assert_eq!(nodes[1].ask(Request::Leave).await, Reply::Accepted);
        assert_eq!(world.count("b: drbdadm disconnect"), 1, "carried out before the answer");
        // Longer than the first retry, at which a node that is not connected asks to connect again.
        sleep(Duration::from_secs(8)).await;
        assert_eq!(world.count("b: drbdadm connect"), before);
        assert_eq!(nodes[0].status().await.role, Role::Active);
    });
    assert_eq!(world.lock().violations, [""; 0]);
}

#[test]
fn a_datastore_that_fails_and_fails_is_handed_over_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    boot(&world, [SECRET; 2], async |nodes| {
        formed(nodes).await;
        // Longer than it takes to count as well.
        sleep(Duration::from_secs(3)).await;
        // A full file system is the other node's as well.
        world.lock().free = 0;
        world.sicken(0, true);
        loop {
            let a = nodes[0].status().await;
            if a.problems.iter().any(|problem| problem.contains("cannot run because its file system is full"))
            {
                assert_eq!(a.role, Role::Active);
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        world.lock().free = 1 << 29;
        loop {
            let [a, b] = formed(nodes).await;
            if b.role == Role::Active {
                assert!(a.problems.iter().any(|problem| problem.contains("handed over")), "{a:?}");
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        // There it fails as well, and before it was well.
        world.sicken(1, true);
        loop {
            let b = nodes[1].status().await;
            if b.problems.iter().any(|problem| problem.contains("stays")) {
                assert_eq!(b.role, Role::Active);
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(nodes[1].status().await.role, Role::Active, "no second move");
        world.sicken(1, false);
        formed(nodes).await;
    });
    assert_eq!(world.lock().violations, [""; 0]);
}

#[test]
fn a_plan_of_one_node_is_the_other_nodes_too_and_outlives_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let plan = async |node: &Running| match node.ask(Request::UpdateStatus).await {
        Reply::Update(status) => status.plan.map(|plan| (plan.version, plan.leader)),
        other => panic!("{other:?}"),
    };
    let wanted = Some(("2.0".to_owned(), pair_core::record::Side::A));
    boot(&world, [SECRET; 2], async |nodes| {
        formed(nodes).await;
        let start = |version: &str| {
            Request::UpdateStart(Start {
                file: version.to_owned(),
                solo: false,
                limit: None,
                one_way: None,
                channel: None,
            })
        };
        assert!(matches!(nodes[0].ask(start("1.0")).await, Reply::Refused(_)), "it runs already");
        assert_eq!(nodes[0].ask(start("2.0")).await, Reply::Accepted);
        while plan(&nodes[1]).await != wanted {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(matches!(nodes[1].ask(start("3.0")).await, Reply::Refused(_)), "one at a time");
        assert!(matches!(nodes[1].ask(Request::UpdateRollback).await, Reply::Refused(_)));
    });
    boot(&world, [SECRET; 2], async |nodes| {
        for node in nodes {
            while plan(node).await != wanted {
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    assert_eq!(world.lock().violations, [""; 0]);
}

#[test]
fn one_box_waits_and_says_for_whom() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.lock().arping = false;
    // The other one has another secret: they never meet.
    boot(&world, [SECRET, "another-secret-of-24-char"], async |nodes| {
        loop {
            let status = nodes[0].status().await;
            let said = |words| status.problems.iter().filter(|problem| problem.contains(words)).count() == 1;
            if said("secret") && said("cannot start `arping") && status.why.contains("waits for") {
                assert_eq!(status.role, Role::Waiting);
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(world.count("connect"), 0);
    assert_eq!(world.count("mkfs"), 0);
    assert_eq!(world.lock().spaces, 0, "a look at a file system that is not there");
    assert_eq!(world.lock().violations, [""; 0]);
}

#[test]
fn the_power_may_go_at_every_call_of_the_forming() {
    let count = {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(folder.path());
        boot(&world, [SECRET; 2], async |nodes| drop(formed(nodes).await));
        world.lock().calls.len()
    };
    for (call, half) in (0..count).flat_map(|call| [(call, false), (call, true)]) {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(folder.path());
        world.lock().fuse = Some((call, half));
        boot(&world, [SECRET; 2], async |nodes| {
            while !world.lock().cut {
                if nodes[0].status().await.formed() && nodes[1].status().await.formed() {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        world.lock().fuse = None;
        boot(&world, [SECRET; 2], async |nodes| drop(formed(nodes).await));
        // And what is formed stays: nothing of it runs again.
        let made = world.count("mkfs.ext4");
        boot(&world, [SECRET; 2], async |nodes| drop(formed(nodes).await));
        assert_eq!(world.count("mkfs.ext4"), made);
        assert_eq!(world.lock().violations, [""; 0], "cut at call {call}, half {half}");
    }
}

#[test]
fn the_channel_binds_where_it_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = peer::bind(0).await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_unspecified());
    });
}
