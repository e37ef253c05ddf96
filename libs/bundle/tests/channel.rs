//! Channel files: what is taken, what is refused and with which words, and when a pair begins.

mod common;

use common::*;
use edgepair_bundle::channel::file::{LINE, assemble};
use edgepair_bundle::channel::{
    CHANNEL_MAX, Channel, ChannelError, Decision, JITTER_MAX, Local, Memory, Named, Replayed, Seen, Signed,
    Unverified, Wait, decide, name_of,
};
use edgepair_bundle::manifest::Wave;
use edgepair_bundle::{Digest, Time, Version};
use edgepair_signature::Untrusted;
use edgepair_window::Window;
use proptest::prelude::*;

/// 2027-01-04 00:00 UTC, a Monday.
const MONDAY: u64 = 1_799_020_800;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn channel() -> Channel {
    Channel {
        name: "stable".into(),
        serial: 7,
        issued: Time(MONDAY),
        expires: Time(MONDAY + 90 * DAY),
        windows: Vec::new(),
        jitter: 0,
        bundle: Named {
            url: "edgepair_0.2.0_amd64.bundle".into(),
            version: version("0.2.0"),
            size: 170_000_000,
            head: Digest::of(b"head"),
        },
        waves: Vec::new(),
    }
}

fn full() -> Channel {
    Channel {
        windows: vec![window("Mon-Fri 22:00-04:00"), window("Sat,Sun 00:00-24:00 UTC")],
        jitter: 3600,
        waves: [(5, MONDAY), (100, MONDAY + DAY)]
            .map(|(percent, from)| Wave { percent, from: Time(from) })
            .into(),
        ..channel()
    }
}

fn window(text: &str) -> Window {
    Window::parse(text).expect("a window")
}

fn file(channel: &Channel, keys: &[u8]) -> String {
    let text = channel.text();
    assemble(&text, &keys.iter().map(|number| seal(*number, &text)).collect::<Vec<_>>()).expect("a file")
}

fn take(file: &[u8]) -> Result<Signed, ChannelError> {
    Unverified::read(file)?.verify(trusted(), Some("stable"))
}

fn signed(channel: &Channel) -> Signed {
    take(file(channel, &[1]).as_bytes()).expect("holds")
}

#[test]
fn what_is_written_is_read_back() {
    for channel in [channel(), full()] {
        assert_eq!(Channel::parse("x", &channel.text()).expect("reads"), channel);
        assert_eq!(*signed(&channel).channel(), channel);
    }
    let golden = include_str!("golden/stable.channel");
    assert_eq!(file(&full(), &[1]), golden, "if this is meant, update tests/golden/stable.channel");
}

/// Every bit of the file matters.
#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let good = file(&full(), &[1]).into_bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let error = take(&bad).expect_err(&format!("byte {at} does not matter"));
            // What is not signed does not get to the parser.
            assert!(
                !matches!(error, ChannelError::Content(_) | ChannelError::Name { .. }),
                "byte {at}: {error}"
            );
            assert!(!error.to_string().is_empty() && !error.advice().is_empty());
        }
        assert!(take(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(take(&[&good[..], b"\n"].concat()).is_err(), "and nothing may follow");
}

#[test]
fn who_signed_matters() {
    let refused = |keys: &[u8]| take(file(&channel(), keys).as_bytes()).expect_err("refused");
    assert!(matches!(refused(&[]), ChannelError::Untrusted(Untrusted::Unsigned)));
    assert!(matches!(refused(&[2]), ChannelError::Untrusted(Untrusted::UnknownKey { .. })));
    assert!(take(file(&channel(), &[2, 1]).as_bytes()).is_ok(), "one of several is enough");
    // The manifest of a bundle, signed by the right key, is no channel.
    let manifest = template().text();
    let mixed = assemble(&manifest, &[seal(1, &manifest)]).expect("a file");
    assert!(matches!(take(mixed.as_bytes()), Err(ChannelError::Content(_))));
    let text = channel().text();
    for (bytes, form) in [
        (vec![b'#'; CHANNEL_MAX + 1], "more than"),
        (vec![0xff; 10], "no channel file"),
        (text.clone().into_bytes(), "no channel file"),
        (format!("{text}# more {LINE}").into_bytes(), "no channel file"),
        (format!("{text}{LINE}nothing\n").into_bytes(), "cannot be read"),
        (
            format!("{text}{LINE}{}", seal(1, &text).text().replace("by edgepair", "by me")).into_bytes(),
            "one form",
        ),
    ] {
        let error = take(&bytes).expect_err("refused").to_string();
        assert!(error.contains(form), "{form}: {error}");
    }
    let five: Vec<_> = (1..6).map(|number| seal(number, &text)).collect();
    assert!(matches!(assemble(&text, &five), Err(ChannelError::SignatureForm)));
}

#[test]
fn another_channels_file_is_not_taken() {
    let beta = Channel { name: "beta".into(), ..channel() };
    let error = take(file(&beta, &[1]).as_bytes()).expect_err("refused");
    assert!(
        matches!(&error, ChannelError::Name { found, wanted } if found == "beta" && wanted == "stable"),
        "{error}"
    );
    for (address, name) in [
        ("https://updates.example/a/stable.channel", Some("stable")),
        ("https://updates.example/stable.channel?x=1", None),
        ("https://updates.example/stable", None),
        ("https://updates.example/.channel", None),
        ("", None),
    ] {
        assert_eq!(name_of(address), name, "{address}");
    }
}

#[test]
fn an_older_file_does_not_come_back() {
    let of = |serial, jitter| signed(&Channel { serial, jitter, ..channel() });
    let mut memory = Memory::default();
    assert_eq!(memory.take(&of(7, 0)), Ok(true));
    assert_eq!(memory.take(&of(7, 0)), Ok(false), "the same again");
    assert_eq!(memory.take(&of(7, 1)), Err(Replayed::Twin(7)));
    assert_eq!(memory.take(&of(6, 0)), Err(Replayed::Older { found: 6, seen: 7 }));
    assert_eq!(memory.take(&of(9, 0)), Ok(true));
    assert_eq!(memory.take(&of(8, 0)), Err(Replayed::Older { found: 8, seen: 9 }));
    // What the other node has seen counts as well, and never less than what was seen here.
    let seen = |serial| Seen { name: "stable".into(), serial, digest: Digest::of(b"x") };
    assert!(!memory.hear(&seen(9)) && !memory.hear(&seen(1)) && memory.hear(&seen(12)));
    assert_eq!(memory.take(&of(11, 0)), Err(Replayed::Older { found: 11, seen: 12 }));
    // Another channel has numbers of its own, and what is remembered has an end.
    for number in 0..40 {
        memory.hear(&Seen { name: format!("c{number}"), ..seen(1) });
    }
    assert_eq!(memory.0.len(), 16);
}

/// `line:column code` of each finding.
fn findings(text: &str) -> Vec<String> {
    let report = Channel::parse("stable.channel", text).expect_err("refused");
    let place = |finding| {
        let at = report.position(finding);
        (at.line, at.column)
    };
    report
        .findings()
        .iter()
        .map(|finding| format!("{}:{} {}", place(finding).0, place(finding).1, finding.code))
        .collect()
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let good = full().text();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        findings(&good.replacen(from, to, 1))
    };
    assert_eq!(change("schema = 1", "schema = 2"), ["2:10 schema"]);
    assert_eq!(change("name = \"stable\"", "name = \"../stable\""), ["3:8 bad-value"]);
    assert_eq!(change("serial = 7", "serial = 0"), ["4:10 bad-value"]);
    assert_eq!(change("serial = 7\n", ""), ["1:1 missing-key"]);
    assert_eq!(
        change("expires = 2027", "expires = 2026"),
        ["6:11 expires", "18:8 wave-expired", "22:8 wave-expired"]
    );
    assert_eq!(change("22:00-04:00", "22:00"), ["7:11 bad-value"]);
    assert_eq!(change("jitter_seconds = 3600", "jitter_seconds = 604801"), ["8:18 bad-value"]);
    assert_eq!(change("jitter_seconds", "jitter_second"), ["8:1 unknown-key"]);
    assert_eq!(change("size = 170000000", "size = 8589934593"), ["13:8 bad-value"]);
    assert_eq!(change("percent = 100", "percent = 99"), ["20:1 wave-rest"]);
    for url in [
        "../a",
        "a/../b",
        "file:///a",
        "//other/a",
        "https://u:p@h/a",
        "https:///a",
        "a b",
        "",
        "a\\\\b",
        "x:y",
    ] {
        let text = good.replace("edgepair_0.2.0_amd64.bundle", url);
        assert_eq!(findings(&text), ["11:7 bad-value"], "{url}");
    }
    assert_eq!(findings(&"#".repeat(CHANNEL_MAX + 1)), ["1:1 too-long"]);
}

#[test]
fn a_bundle_is_beside_its_channel_or_elsewhere() {
    for (channel_file, url, address) in [
        ("https://updates.example/a/stable.channel", "x.bundle", "https://updates.example/a/x.bundle"),
        ("https://updates.example/a/stable.channel", "b/x.bundle", "https://updates.example/a/b/x.bundle"),
        ("https://updates.example/a/stable.channel", "/x.bundle", "https://updates.example/x.bundle"),
        ("http://192.0.2.9:8080/stable.channel", "x.bundle", "http://192.0.2.9:8080/x.bundle"),
        ("http://192.0.2.9/stable.channel", "https://cdn.example/x.bundle", "https://cdn.example/x.bundle"),
    ] {
        let bundle = Named { url: url.into(), ..channel().bundle };
        assert_eq!(bundle.address(channel_file).as_deref(), Some(address), "{url}");
    }
}

fn local<'a>(running: &'a Version, now: u64) -> Local<'a> {
    Local {
        pair: "site-042",
        running,
        failed: &[],
        now: Some(Time(now)),
        offset: 0,
        windows: &[],
        automatic: true,
        whole: true,
        busy: false,
        again: None,
    }
}

#[test]
fn what_a_pair_does() {
    let (old, own, newer) = (version("0.1.0"), version("0.2.0"), version("0.10.0"));
    let now = MONDAY + HOUR;
    let base = local(&old, now);
    let does = |local: &Local<'_>| decide(&channel(), local);
    assert_eq!(does(&base), Decision::Start { until: None });
    assert_eq!(does(&Local { running: &own, ..base }), Decision::Current);
    assert_eq!(does(&Local { running: &newer, ..base }), Decision::Older, "0.10 is above 0.2");
    assert_eq!(does(&Local { failed: &[version("0.2.0")], ..base }), Decision::Failed);
    assert_eq!(does(&Local { automatic: false, ..base }), Decision::Announce);
    assert_eq!(does(&Local { busy: true, ..base }), Decision::Wait(Wait::Busy));
    assert_eq!(does(&Local { whole: false, ..base }), Decision::Wait(Wait::NotWhole));
    let later = |seconds| Some(Time(now + seconds));
    assert_eq!(does(&Local { again: later(HOUR), ..base }), Decision::Wait(Wait::Again(Time(now + HOUR))));
    for over in [later(0), later(DAY + 1)] {
        assert_eq!(does(&Local { again: over, ..base }), Decision::Start { until: None });
    }
    // A clock that is wrong.
    assert_eq!(does(&Local { now: None, ..base }), Decision::Wait(Wait::NoClock));
    for past in [0, 1_000_000_000, MONDAY - 1] {
        let behind = does(&Local { now: Some(Time(past)), running: &own, ..base });
        assert_eq!(behind, Decision::Wait(Wait::ClockBehind(Time(MONDAY))));
        assert!(behind.words(&own).contains("clock of this node is wrong"));
    }
    let end = MONDAY + 90 * DAY;
    assert_eq!(does(&Local { now: Some(Time(end - 1)), ..base }), Decision::Start { until: None });
    for late in [end, u64::MAX] {
        let expired = does(&Local { now: Some(Time(late)), running: &own, ..base });
        assert_eq!(expired, Decision::Wait(Wait::Expired(Time(end))), "also when there is nothing to do");
    }
}

#[test]
fn windows_waves_and_spread() {
    let old = version("0.1.0");
    let (mine, theirs) = (vec![window("Mon-Sun 01:00-05:00")], vec![window("Tue 02:00-03:00 UTC")]);
    let at = |now, offset, spread: u32| {
        let channel = Channel { windows: theirs.clone(), jitter: spread, ..channel() };
        decide(&channel, &Local { windows: &mine, offset, ..local(&old, now) })
    };
    let tuesday = MONDAY + DAY;
    assert_eq!(at(MONDAY, 0, 0), Decision::Wait(Wait::Window(Time(tuesday + 2 * HOUR))));
    assert_eq!(at(tuesday + 2 * HOUR, 0, 0), Decision::Start { until: Some(Time(tuesday + 3 * HOUR)) });
    assert_eq!(
        at(tuesday + 3 * HOUR, 0, 0),
        Decision::Wait(Wait::Window(Time(tuesday + 7 * DAY + 2 * HOUR)))
    );
    // Local time is nine hours ahead: 01:00 to 05:00 there is 16:00 to 20:00 UTC.
    assert_eq!(at(MONDAY, 9 * 3600, 0), Decision::Wait(Wait::NeverOpen));
    // Spread over a week, and the window has an hour: somewhere in that hour.
    let Decision::Wait(Wait::Window(Time(turn))) = at(MONDAY, 0, JITTER_MAX) else { panic!("waits") };
    assert!((tuesday + 2 * HOUR..tuesday + 3 * HOUR).contains(&turn), "{turn}");
    assert_eq!(at(tuesday + 2 * HOUR, 0, JITTER_MAX), Decision::Wait(Wait::Spread(Time(turn))));
    assert!(matches!(at(turn, 0, JITTER_MAX), Decision::Start { .. }));
    // A wave of its own, which comes before everything else.
    let waves = vec![Wave { percent: 100, from: Time(tuesday) }];
    let channel = Channel { waves, ..channel() };
    assert_eq!(decide(&channel, &local(&old, MONDAY)), Decision::Wait(Wait::Wave(Time(tuesday))));
    assert_eq!(decide(&channel, &local(&old, tuesday)), Decision::Start { until: None });
}

/// Of a thousand pairs, so many begin in each hour of a day.
#[test]
fn pairs_are_spread_evenly() {
    let old = version("0.1.0");
    let channel = Channel { jitter: 86_400, ..channel() };
    let mut hours = [0; 24];
    for number in 0..1000 {
        let name = format!("site-{number}");
        let hour = (0..24).find(|hour| {
            let now = MONDAY + (hour + 1) * HOUR - 1;
            decide(&channel, &Local { pair: &name, ..local(&old, now) }) == Decision::Start { until: None }
        });
        hours[hour.expect("within the day") as usize] += 1;
    }
    assert!(hours.iter().all(|count| (15..80).contains(count)), "{hours:?}");
}

fn any_window() -> impl Strategy<Value = Window> {
    (0_usize..7, 0_usize..7, 0_u32..24, 0_u32..24, any::<bool>()).prop_map(|(first, last, from, to, utc)| {
        let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let to = if from == to { to + 1 } else { to };
        let zone = if utc { " UTC" } else { "" };
        window(&format!("{}-{} {from:02}:00-{to:02}:00{zone}", day[first], day[last]))
    })
}

fn any_channel() -> impl Strategy<Value = Channel> {
    let windows = prop::collection::vec(any_window(), 0..3);
    let waves = prop::collection::vec((1_u32..99, 0..20 * DAY), 0..3);
    (windows, waves, 0_u32..=JITTER_MAX, 1_u64..40 * DAY).prop_map(|(windows, mut waves, jitter, lasts)| {
        waves.sort();
        waves.dedup_by_key(|wave| wave.0);
        let mut from = MONDAY;
        let mut waves: Vec<Wave> = waves
            .into_iter()
            .map(|(percent, later)| {
                from += later + 1;
                Wave { percent, from: Time(from) }
            })
            .collect();
        if !waves.is_empty() {
            waves.push(Wave { percent: 100, from: Time(from + DAY) });
        }
        let expires = Time(MONDAY + lasts);
        Channel { windows, waves, jitter, expires, ..channel() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// It begins only when everything allows it; a time that it names comes true, and not a second earlier.
    #[test]
    fn begins_when_everything_allows_it_and_when_it_said(
        channel in any_channel(),
        own in prop::collection::vec(any_window(), 0..3),
        pair in "[a-z]{1,8}",
        offset in -12 * 3600_i32..14 * 3600,
        later in 0_u64..45 * DAY,
        (automatic, whole, busy, clock, fails) in (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.9), prop::bool::weighted(0.1)),
    ) {
        let (old, bad) = (version("0.1.0"), [version("0.2.0")]);
        let now = MONDAY - DAY + later;
        let failed: &[Version] = if fails { &bad } else { &[] };
        let local = Local { pair: &pair, failed, offset, windows: &own, automatic, whole, busy, now: clock.then_some(Time(now)), ..local(&old, now) };
        let at = |now| decide(&channel, &Local { now: Some(Time(now)), automatic: true, whole: true, busy: false, failed: &[], ..local });
        match decide(&channel, &local) {
            Decision::Start { until } => {
                prop_assert!(automatic && whole && !busy && clock && !fails);
                prop_assert!(channel.issued.0 <= now && now < channel.expires.0);
                let over = |until: Time| until.0 > now && !matches!(at(until.0), Decision::Start { .. });
                prop_assert!(until.is_none_or(over), "it may still begin at {:?}", until);
                for list in [&channel.windows, &own] {
                    let now = i64::try_from(now).expect("a time");
                    prop_assert_eq!(edgepair_window::open(&[list], offset, now..now + 1).len(), 1);
                }
            }
            Decision::Wait(Wait::Window(turn) | Wait::Spread(turn)) => {
                prop_assert!(turn.0 > now);
                let early = matches!(at(turn.0 - 1), Decision::Start { .. });
                prop_assert!(!early, "it begins before its turn");
                if turn < channel.expires {
                    let then = at(turn.0);
                    prop_assert!(matches!(then, Decision::Start { .. }), "{then:?} at {turn}");
                }
            }
            Decision::Wait(Wait::Wave(from)) => {
                prop_assert!(from.0 > now && channel.waves.iter().any(|wave| wave.from == from));
                prop_assert!(!matches!(at(from.0), Decision::Wait(Wait::Wave(_))));
            }
            Decision::Wait(Wait::NoClock) => prop_assert!(!clock),
            Decision::Wait(Wait::ClockBehind(_)) => prop_assert!(now < channel.issued.0),
            Decision::Wait(Wait::Expired(_)) => prop_assert!(now >= channel.expires.0),
            Decision::Wait(Wait::NeverOpen) => {
                prop_assert!(edgepair_window::open(&[&channel.windows, &own], offset, 0..14 * 86_400).is_empty());
            }
            Decision::Announce => prop_assert!(!automatic),
            Decision::Failed => prop_assert!(fails),
            Decision::Wait(Wait::Busy) => prop_assert!(busy),
            Decision::Wait(Wait::NotWhole) => prop_assert!(!whole),
            Decision::Current | Decision::Older | Decision::Wait(Wait::Again(_)) => prop_assert!(false, "0.1.0 runs"),
        }
    }

    /// No bytes stop the reader, and what it takes is written and read the same again.
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), length in 0..60_usize, piece in "[ -~\n]{0,30}") {
        let _ = take(&bytes);
        let mut changed = full().text();
        let start = at.index(changed.len());
        changed.replace_range(start..(start + length).min(changed.len()), &piece);
        match Channel::parse("x", &changed) {
            Ok(channel) => prop_assert_eq!(Channel::parse("x", &channel.text()).expect("reads"), channel),
            Err(report) => prop_assert!(report.errors().count() > 0 && !report.render(false).is_empty()),
        }
    }
}
