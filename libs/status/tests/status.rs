//! The JSON keeps its names, other versions are read, and the table says what matters.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use edgepair_status::table::{Column, render};
use edgepair_status::{Datastore, Drbd, Fence, Kubernetes, Peer, Role, Status, Sync, VirtualIp, Wear};

fn active() -> Status {
    Status {
        node: "site-042-a".into(),
        side: "a".into(),
        pair: "site-042".into(),
        version: "1.4.0".into(),
        slot: Some("A".into()),
        seed: "0123456789abcdef".into(),
        mode: "manual".into(),
        role: Role::Active,
        why: "active; the other node is current".into(),
        record: Some("paired".into()),
        epoch: Some(7),
        peer: Peer { name: "site-042-b".into(), reachable: true, role: Some(Role::Standby) },
        drbd: Some(Drbd {
            role: "Primary".into(),
            connection: "Established".into(),
            disk: "UpToDate".into(),
            peer_disk: "UpToDate".into(),
            suspended: false,
            sync: None,
        }),
        datastore: Datastore { kind: "postgres".into(), state: "ready".into() },
        kubernetes: None,
        wear: None,
        virtual_ip: vec![VirtualIp { address: "192.0.2.50".into(), held: true }],
        fence: None,
        problems: vec![],
    }
}

fn standby() -> Status {
    let mut status = active();
    status.node = "site-042-b".into();
    status.side = "b".into();
    status.role = Role::Standby;
    status.why = "standby; current".into();
    status.peer = Peer { name: "site-042-a".into(), reachable: true, role: Some(Role::Active) };
    status.datastore.state = "stopped".into();
    status.virtual_ip[0].held = false;
    status
}

#[test]
fn the_names_of_the_fields_are_kept() {
    let json = serde_json::to_value(active()).unwrap();
    let expected = serde_json::json!({
        "node": "site-042-a", "side": "a", "pair": "site-042", "version": "1.4.0", "slot": "A",
        "seed": "0123456789abcdef", "mode": "manual", "role": "active",
        "why": "active; the other node is current", "record": "paired", "epoch": 7,
        "peer": { "name": "site-042-b", "reachable": true, "role": "standby" },
        "drbd": { "role": "Primary", "connection": "Established", "disk": "UpToDate", "peer_disk": "UpToDate",
                  "suspended": false, "sync": null },
        "datastore": { "kind": "postgres", "state": "ready" },
        "virtual_ip": [{ "address": "192.0.2.50", "held": true }],
        "problems": [],
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), active());
}

#[test]
fn a_newer_version_is_read() {
    let mut json = serde_json::to_value(active()).unwrap();
    json["role"] = "meditating".into();
    json["mood"] = "calm".into();
    assert_eq!(serde_json::from_value::<Status>(json).unwrap().role, Role::Unknown);
}

#[test]
fn formed_means_both_current_and_one_place_to_reach() {
    assert!(active().formed() && standby().formed());
    let broken: [fn(&mut Status); 8] = [
        |s| s.drbd = None,
        |s| s.drbd.as_mut().unwrap().peer_disk = "Outdated".into(),
        |s| s.drbd.as_mut().unwrap().suspended = true,
        |s| s.drbd.as_mut().unwrap().sync = Some(Sync { percent: 1.0, seconds_left: None }),
        |s| s.role = Role::Frozen,
        |s| s.peer.reachable = false,
        |s| s.virtual_ip[0].held = !s.virtual_ip[0].held,
        |s| s.drbd.as_mut().unwrap().disk = "Consistent".into(),
    ];
    for (index, broken) in broken.iter().enumerate() {
        for mut status in [active(), standby()] {
            broken(&mut status);
            assert!(!status.formed(), "{index}");
        }
    }
    let mut status = active();
    status.datastore.state = "starting".into();
    assert!(!status.formed());
}

#[test]
fn the_table() {
    let mut b = standby();
    b.role = Role::Synchronising;
    b.why = "receiving the blocks that changed while it was away".into();
    let drbd = b.drbd.as_mut().unwrap();
    drbd.connection = "SyncTarget".into();
    drbd.role = "Secondary".into();
    drbd.disk = "Inconsistent".into();
    drbd.sync = Some(Sync { percent: 41.26, seconds_left: Some(200) });
    b.problems = vec!["the witness did not answer for 40 s".into()];
    let mut a = active();
    a.kubernetes = Some(Kubernetes {
        version: Some("v1.33.4+k3s1".into()),
        chosen: Some("v1.33.4+k3s1".into()),
        role: "server".into(),
        ready: true,
        why: None,
    });
    a.wear = Some(Wear { datastore: 700 << 20, journal: 20 << 20, kubernetes: 60 << 20, disk: 812 << 20 });
    b.kubernetes = Some(Kubernetes {
        version: Some("v1.33.4+k3s1".into()),
        chosen: Some("v1.34.1+k3s1".into()),
        role: "server".into(),
        ready: false,
        why: Some("k3s is starting".into()),
    });
    let text = render(&[a.into(), b.into()]);
    assert_eq!(text, include_str!("table.txt"), "got:\n{text}");
}

#[test]
fn a_power_switch_has_a_row_where_there_is_one() {
    let mut status = active();
    let fence = Fence {
        device: "fence_redfish at 192.0.2.12".into(),
        answer: "on".into(),
        answers: true,
        seconds_ago: Some(75),
    };
    status.fence = Some(fence);
    let json = serde_json::to_value(&status).unwrap();
    let wanted = serde_json::json!({
        "device": "fence_redfish at 192.0.2.12", "answer": "on", "answers": true, "seconds_ago": 75
    });
    assert_eq!(json["fence"], wanted);
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    let text = render(&[status.into(), standby().into()]);
    // The column is narrower than this row, which goes on in the next line.
    assert!(text.contains("fence_redfish at 192.0.2.12: on, 1\n") && text.contains("min 15 s ago"), "{text}");
    assert!(!render(&[active().into()]).contains("fence"), "a row that nobody has");
}

#[test]
fn a_silent_node_has_a_column_and_a_reason() {
    let silent = Column::Silent { node: "site-042-b".into(), why: "no answer: switched off".into() };
    let text = render(&[active().into(), silent]);
    assert!(text.contains("no answer") && text.contains("site-042-b: no answer: switched off"), "{text}");
}
