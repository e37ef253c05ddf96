use super::*;
use crate::member::Hardware;
use edgepair_render::names::BACKING_PART;

const SIZE: u64 = 1 << 30;

fn file_mode() -> Wanted {
    Wanted { backing: Backing::File(SIZE), pair: "site-042 (c22e2e93)".into(), watchdog_ms: Some(10_000) }
}

fn device_mode() -> Wanted {
    Wanted { backing: Backing::Device("/dev/disk/by-id/x".into()), ..file_mode() }
}

fn disk_id() -> DiskFile {
    DiskFile {
        mint: DiskId([7; 16]),
        target: "file 12".into(),
        pair: file_mode().pair,
        hardware: Hardware { board: "uuid 1".into(), disk: "serial 1".into() },
    }
}

fn begun(identity: &str, chosen: Option<DiskId>) -> Option<Begun> {
    Some(Begun { identity: identity.into(), chosen: chosen.map(|id| id.to_string()) })
}

fn device(metadata: Option<bool>) -> Device {
    Device::Present {
        identity: "file 12".into(),
        metadata: metadata.map(|just_created| Superblock { just_created, consistent: !just_created }),
        signatures: Vec::new(),
        ends_are_zero: true,
    }
}

/// A box whose disk is attached.
fn done() -> Seen {
    Seen {
        state_is_kept: true,
        free: 4 << 30,
        file: File::Whole { bytes: SIZE, allocated: true },
        file_begun: None,
        loop_device: Loop::Attached { direct: true, discards: false, linked: true },
        device: device(Some(false)),
        device_begun: None,
        disk_id: Some(disk_id()),
        only_begun: false,
        drbd: Drbd::Attached,
        watchdog_ms: 10_000,
    }
}

/// Id of the next step, `done`, or the reason why there is none.
fn what(wanted: &Wanted, seen: &Seen) -> String {
    match next(wanted, seen) {
        Next::Done => "done".into(),
        Next::Step(step) => step.id().into(),
        Next::Blocked(blocked) => {
            assert!(blocked.what.contains("nothing was written") && !blocked.fix.is_empty());
            format!("blocked: {}", blocked.what)
        }
    }
}

#[test]
fn a_box_that_is_as_it_should_be_has_no_step() {
    assert_eq!(next(&file_mode(), &done()), Next::Done);
    let device = Seen { file: File::Absent, loop_device: Loop::None, ..done() };
    assert_eq!(next(&device_mode(), &device), Next::Done);
    let new = Seen { device: tests::device(Some(true)), ..done() };
    assert_eq!(next(&file_mode(), &new), Next::Done, "new metadata is as good");
}

#[test]
fn each_thing_that_is_missing_is_the_next_step() {
    let wanted = file_mode();
    let before_file = Seen { file: File::Absent, loop_device: Loop::None, ..done() };
    assert_eq!(what(&wanted, &before_file), "backing-file");
    for loop_device in [
        Loop::None,
        Loop::Attached { direct: true, discards: true, linked: true },
        Loop::Attached { direct: true, discards: false, linked: false },
    ] {
        assert_eq!(what(&wanted, &Seen { loop_device, ..done() }), "loop-device");
    }
    let empty = Seen { device: device(None), disk_id: None, drbd: Drbd::None, ..done() };
    assert_eq!(what(&wanted, &empty), "metadata");
    assert_eq!(what(&wanted, &Seen { drbd: Drbd::None, ..done() }), "attach");
    assert_eq!(what(&wanted, &Seen { drbd: Drbd::Diskless, ..done() }), "attach");
    assert_eq!(next(&wanted, &Seen { watchdog_ms: 120_000, ..done() }), Next::Step(Step::Watchdog(10_000)));
    let without = Wanted { watchdog_ms: None, ..file_mode() };
    assert_eq!(next(&without, &Seen { watchdog_ms: 0, ..done() }), Next::Done);
}

#[test]
fn every_unfinished_step_is_gone_on_with() {
    let wanted = file_mode();
    // Cut while the file was written, before and after its first byte, and after it had got its name.
    for file in [File::Absent, File::Part(5 << 20)] {
        let seen = Seen { file, file_begun: begun(BACKING_PART, None), loop_device: Loop::None, ..done() };
        assert!(matches!(next(&wanted, &seen), Next::Step(Step::WriteFile(..))));
    }
    let seen = Seen { file_begun: begun(BACKING_PART, None), ..done() };
    assert_eq!(next(&wanted, &seen), Next::Step(Step::Finish(Target::BackingFile)));
    // Cut in create-md: nothing there yet, half of it, all of it, all and the identity.
    let mint = DiskId([9; 16]);
    let half = Device::Present {
        identity: "file 12".into(),
        metadata: None,
        signatures: vec!["drbd".into()],
        ends_are_zero: false,
    };
    for device in [device(None), half, device(Some(true))] {
        let seen = Seen {
            device,
            disk_id: None,
            device_begun: begun("file 12", Some(mint)),
            drbd: Drbd::None,
            ..done()
        };
        let Next::Step(Step::Metadata { unfinished: true, again, .. }) = next(&wanted, &seen) else {
            panic!("{:?}", next(&wanted, &seen))
        };
        assert_eq!(again, Some(mint), "the same number, in whatever run");
    }
    let kept = DiskFile { mint, ..disk_id() };
    let seen = Seen { disk_id: Some(kept), device_begun: begun("file 12", Some(mint)), ..done() };
    assert_eq!(next(&wanted, &seen), Next::Step(Step::Finish(Target::BackingDevice)));
    // Emptied by hand and begun anew: the identity is still the old one.
    let seen = Seen { device_begun: begun("file 12", Some(mint)), device: device(Some(true)), ..done() };
    assert!(matches!(next(&wanted, &seen), Next::Step(Step::Metadata { unfinished: true, .. })));
}

#[test]
fn a_record_of_another_target_proves_nothing() {
    let wanted = device_mode();
    let other = begun("disk serial 2", Some(DiskId([9; 16])));
    let full = Device::Present {
        identity: "disk serial 1".into(),
        metadata: None,
        signatures: vec!["ext4".into()],
        ends_are_zero: false,
    };
    let seen = Seen { device: full, disk_id: None, device_begun: other.clone(), drbd: Drbd::None, ..done() };
    assert!(what(&wanted, &seen).contains("ext4"), "{}", what(&wanted, &seen));
    let seen = Seen { device: device(Some(true)), disk_id: None, device_begun: other.clone(), ..seen };
    assert!(what(&wanted, &seen).contains("did not make"));
    assert_eq!(
        next(&wanted, &Seen { device_begun: other, ..done() }),
        Next::Done,
        "it waits for its own disk"
    );
    let odd = Seen {
        file: File::Part(1 << 20),
        file_begun: begun("something else", None),
        loop_device: Loop::None,
        ..done()
    };
    assert!(what(&file_mode(), &odd).contains("another target"));
}

#[test]
fn foreign_data_is_never_written_over() {
    let wanted = file_mode();
    let with = |signatures: &[&str], ends_are_zero| Seen {
        device: Device::Present {
            identity: "disk 1".into(),
            metadata: None,
            signatures: signatures.iter().map(|name| (*name).to_owned()).collect(),
            ends_are_zero,
        },
        disk_id: None,
        drbd: Drbd::None,
        ..done()
    };
    assert!(what(&device_mode(), &with(&["gpt", "ext4"], false)).contains("gpt, ext4"));
    assert!(what(&device_mode(), &with(&[], false)).contains("unknown kind"));
    assert!(what(&device_mode(), &Seen { device: Device::Missing, ..done() }).contains("not there"));
    let metadata = Seen { disk_id: None, drbd: Drbd::None, ..done() };
    assert!(what(&wanted, &metadata).contains("did not make"), "metadata of somebody else");
    let exchanged = Seen { disk_id: Some(DiskFile { target: "file 13".into(), ..disk_id() }), ..done() };
    assert!(what(&wanted, &exchanged).contains("exchanged"));
    let part = Seen { file: File::Part(1 << 20), loop_device: Loop::None, ..done() };
    assert!(what(&wanted, &part).contains("did not begin"));
    let folder = Seen { file: File::Other("a folder".into()), loop_device: Loop::None, ..done() };
    assert!(what(&wanted, &folder).contains("a folder is there already"));
}

#[test]
fn another_size_holes_and_a_second_loop_device_stop_it() {
    let wanted = file_mode();
    let size = Seen { file: File::Whole { bytes: SIZE / 2, allocated: true }, ..done() };
    assert!(what(&wanted, &size).contains("536870912 bytes"));
    let holes = Seen { file: File::Whole { bytes: SIZE, allocated: false }, ..done() };
    assert!(what(&wanted, &holes).contains("holes"));
    assert!(what(&wanted, &Seen { loop_device: Loop::Several(2), ..done() }).contains("2 times"));
    let cached = Loop::Attached { direct: false, discards: false, linked: true };
    assert!(what(&wanted, &Seen { loop_device: cached, ..done() }).contains("without direct I/O"));
    assert!(what(&wanted, &Seen { state_is_kept: false, ..done() }).contains("in memory"));
}

#[test]
fn a_state_partition_that_is_too_small_is_named_with_numbers_before_a_byte_is_written() {
    let wanted = file_mode();
    let tight = |free, file, file_begun| Seen { free, file, file_begun, loop_device: Loop::None, ..done() };
    assert!(what(&wanted, &tight(SIZE + RESERVE - 1, File::Absent, None)).contains("too small"));
    assert_eq!(what(&wanted, &tight(SIZE + RESERVE, File::Absent, None)), "backing-file");
    // What the cut run has written already is not needed a second time.
    let part = tight(SIZE + RESERVE - (64 << 20), File::Part(64 << 20), begun(BACKING_PART, None));
    assert_eq!(what(&wanted, &part), "backing-file");
}

#[test]
fn data_of_another_pair_is_not_attached_and_unused_metadata_is_nobodys() {
    let other = Wanted { pair: "site-043 (00000000)".into(), ..file_mode() };
    assert!(what(&other, &done()).contains("site-042 (c22e2e93)"));
    let unused = Seen { device: device(Some(true)), ..done() };
    assert_eq!(next(&other, &unused), Next::Step(Step::Pair));
}

#[test]
fn a_disk_emptied_by_hand_gets_a_new_identity() {
    let seen = Seen { device: device(None), drbd: Drbd::None, ..done() };
    assert!(matches!(
        next(&file_mode(), &seen),
        Next::Step(Step::Metadata { unfinished: false, again: None, .. })
    ));
}

#[test]
fn a_disk_with_half_a_first_generation_is_made_anew_and_no_other() {
    let wanted = file_mode();
    let metadata = |consistent, just_created| Device::Present {
        identity: "file 12".into(),
        metadata: Some(Superblock { just_created, consistent }),
        signatures: Vec::new(),
        ends_are_zero: false,
    };
    let half = Seen { device: metadata(false, false), only_begun: true, drbd: Drbd::None, ..done() };
    let Next::Step(Step::Metadata { unfinished: true, again, .. }) = next(&wanted, &half) else {
        panic!("{:?}", next(&wanted, &half))
    };
    assert_eq!(again, Some(disk_id().mint), "it stays the same replica");
    for seen in [
        Seen { only_begun: false, ..half.clone() },
        Seen { device: metadata(true, false), ..half.clone() },
        Seen { device: metadata(false, true), ..half.clone() },
        Seen { drbd: Drbd::Diskless, ..half.clone() },
    ] {
        assert_eq!(what(&wanted, &seen), "attach", "{seen:?}");
    }
    assert_eq!(
        next(&wanted, &Seen { drbd: Drbd::Attached, ..half }),
        Next::Done,
        "never below a running DRBD"
    );
}
