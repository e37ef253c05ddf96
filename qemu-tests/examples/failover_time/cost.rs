//! What programs cost while nothing happens, and how many commits a datastore takes.

use qemu_tests::harness::Deadline;
use qemu_tests::harness::guest::Guest;
use std::time::Duration;

/// Resident memory (MiB) and processor time (percent of one) of the processes with these numbers, over half a minute.
pub fn of(guest: &mut Guest, pids: &str) -> anyhow::Result<(f32, f32)> {
    let pids: Vec<&str> = pids.split_whitespace().collect();
    anyhow::ensure!(!pids.is_empty(), "none of its processes runs");
    let files =
        |name: &str| pids.iter().map(|pid| format!("/proc/{pid}/{name}")).collect::<Vec<_>>().join(" ");
    let rss = guest.run(&format!("cat {} | grep VmRSS", files("status")))?;
    let kib: f32 = rss.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<f32>().ok()).sum();
    // Fields 14 and 15 are user and system time in hundredths of a second (proc(5)); the name before may have blanks.
    let time = |guest: &mut Guest| -> anyhow::Result<(f32, f32)> {
        let text = guest.run(&format!("cat {} /proc/uptime", files("stat")))?;
        let ticks: f32 = text
            .lines()
            .filter_map(|line| line.rsplit_once(')'))
            .flat_map(|(_, rest)| {
                rest.split_whitespace().skip(11).take(2).map(str::to_owned).collect::<Vec<_>>()
            })
            .filter_map(|word| word.parse::<f32>().ok())
            .sum();
        let up = text.lines().last().and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0.0);
        Ok((ticks / 100.0, up))
    };
    let (before, begun) = time(guest)?;
    std::thread::sleep(Duration::from_secs(30));
    let (after, ended) = time(guest)?;
    Ok((kib / 1024.0, (after - before) / (ended - begun) * 100.0))
}

/// Commits per second of one client on the node itself: one small row each, for some seconds.
pub fn commits(guest: &mut Guest, deadline: Deadline) -> anyhow::Result<f32> {
    let bin = "/usr/lib/postgresql/17/bin";
    let table = "DROP TABLE IF EXISTS lab_commits; CREATE TABLE lab_commits (number bigserial, at timestamptz DEFAULT now())";
    let script = format!(
        "cd /; as() {{ setpriv --reuid=postgres --regid=postgres --init-groups -- \"$@\"; }}; \
         as {bin}/psql -X -q -h /run/postgresql -d kine -c \"{table}\" && \
         echo \"INSERT INTO lab_commits DEFAULT VALUES;\" >/run/lab.sql && \
         as {bin}/pgbench -n -c 1 -T 20 -h /run/postgresql -f /run/lab.sql kine 2>&1"
    );
    let answer = guest.try_run(&script, deadline)?;
    let rate =
        answer.text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.ok_or_else(|| anyhow::anyhow!("pgbench said: {}", answer.text))
}
