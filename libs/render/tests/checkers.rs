//! Every rendered file is taken by the very program that will read it, where that program is installed.
//!
//! A program that is not there is reported as skipped; so is a kernel that cannot do what the check needs.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use edgepair_render::checks::{Call, Check, Outcome, Verdict, checks, programs_of_units, run};
use edgepair_render::{Context, Rendered};

/// Lays the files under `root`, with stand-ins for programs that units start and this machine lacks.
fn lay(rendered: &Rendered, root: &Path) {
    for file in &rendered.files {
        put(root, &file.path, &file.content, file.mode);
    }
    for program in programs_of_units(rendered) {
        put(root, &program, "#!/bin/sh\n", 0o755);
    }
    let folder = root.join(edgepair_render::names::SSH_HOST_KEY.trim_start_matches('/'));
    std::fs::create_dir_all(folder.parent().expect("a folder")).expect("mkdir");
}

fn put(root: &Path, path: &str, content: &str, mode: u32) {
    let path = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test")]
    std::fs::write(&path, content).expect("writes");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
}

/// The program itself. PostgreSQL 15, of the suite before, stands in where 17 is missing: it has all our settings.
fn program(call: &Call) -> Result<String, String> {
    let wanted = &call.argv[0];
    let older = wanted.replace("/postgresql/17/", "/postgresql/15/");
    let found = [wanted, &older].into_iter().find(|path| Path::new(path).exists());
    found.cloned().ok_or_else(|| format!("{wanted} is not installed"))
}

fn execute(call: &Call) -> Result<Outcome, String> {
    #[expect(clippy::disallowed_methods, reason = "the checkers are what this test is about")]
    let mut command = std::process::Command::new(program(call)?);
    let output = command
        .args(&call.argv[1..])
        .envs(call.env.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Outcome { code: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() })
}

/// Lays the files of a box and runs one check on them.
fn verdicts(context: &Context<'_>, rendered: &Rendered) -> Vec<(Check, Verdict)> {
    let root = tempfile::tempdir().expect("tempdir");
    lay(rendered, root.path());
    let list = checks(context, rendered, &root.path().to_string_lossy());
    list.into_iter()
        .map(|check| {
            let verdict = run(&check, execute);
            (check, verdict)
        })
        .collect()
}

#[test]
fn programs_take_their_files() {
    let mut refused = String::new();
    let mut skipped: BTreeMap<String, String> = BTreeMap::new();
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    common::each_box(|name, context, rendered| {
        for (check, verdict) in verdicts(context, rendered) {
            match verdict {
                Verdict::Accepted => *accepted.entry(check.program.to_owned()).or_default() += 1,
                Verdict::Refused(why) => {
                    refused.push_str(&format!("{name} {}: {}\n{why}\n", context.member, check.file));
                }
                Verdict::Skipped(why) => {
                    skipped.insert(check.package.to_owned(), why);
                }
            }
        }
    });
    for (package, why) in &skipped {
        println!("skipped: {package}: {why}");
    }
    println!("accepted: {accepted:?}");
    assert!(refused.is_empty(), "{refused}");
}

/// Each checker is able to say no: the same file with one word broken is refused.
#[test]
fn programs_refuse_broken_files() {
    let breakages = [
        ("/etc/keepalived/keepalived.conf", "virtual_router_id", "virtual_ruoter_id"),
        ("/etc/nftables.conf", "policy drop", "policy drp"),
        ("/etc/ssh/sshd_config", "PermitRootLogin", "PermitRoot"),
        ("/etc/haproxy/haproxy.cfg", "option tcp-check", "option tcp-chek"),
        ("/etc/drbd.d/edgepair.res", "fencing", "fencin"),
        ("/etc/edgepair/postgres/postgresql.conf", "wal_recycle = off", "wal_recycle = perhaps"),
        ("/etc/systemd/system/edgepair-postgres.service", "Type=notify", "Type=notfy"),
        ("/etc/systemd/system/var-lib-pair.mount", "What=", "Waht="),
        ("/etc/chrony/chrony.conf", "driftfile", "driftfiel"),
        ("/etc/lvm/lvm.conf", "global_filter", "globul_filter"),
        ("/etc/udev/rules.d/61-edgepair-storage.rules", "SUBSYSTEM==", "SUBSYSTEM="),
    ];
    let seed = common::named("minimal");
    let member = edgepair_seed::Member::Node(edgepair_seed::NodeId::A);
    let facts = edgepair_render::Facts::assumed(&seed, &member);
    let context = Context::new(&seed, &member, &facts).expect("a context");
    let mut taken = String::new();
    for (path, from, to) in breakages {
        let mut rendered = common::rendered(&seed, "a");
        let file = rendered.files.iter_mut().find(|file| file.path == path).expect(path);
        assert!(file.content.contains(from), "{path} has no {from}");
        file.content = file.content.replacen(from, to, 1);
        let (_, verdict) =
            verdicts(&context, &rendered).into_iter().find(|(check, _)| check.file == path).expect(path);
        match verdict {
            Verdict::Refused(_) => {}
            Verdict::Skipped(why) => println!("skipped: {path}: {why}"),
            Verdict::Accepted => taken.push_str(&format!("{path} with {to}\n")),
        }
    }
    assert!(taken.is_empty(), "taken although broken:\n{taken}");
}
