use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

/// A step without programs, so that no tools tree is needed; it counts how often it runs.
fn counted(runs: &Arc<AtomicU32>) -> Step {
    let runs = Arc::clone(runs);
    Step {
        name: "counted",
        title: String::new(),
        inputs: vec![Input::Fact { name: "fact".into(), value: "1".into() }],
        files: Vec::new(),
        actions: vec![Action::native("counts", move |dir| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(edgepair_host_io::atomic::write(&dir.file("result"), b"x", 0o644)?)
        })],
        outputs: vec!["result"],
        network: false,
        mounts: Vec::new(),
    }
}

fn nowhere() -> Sandbox {
    Sandbox { tools: PathBuf::from("/nonexistent") }
}

#[test]
fn builds_at_the_same_time_make_a_step_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (runs, start) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(4)));
    let results: Vec<Done> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|_| {
                let (runs, start, path) = (Arc::clone(&runs), Arc::clone(&start), dir.path().to_owned());
                scope.spawn(move || {
                    // Each with its own cache value, as a process of its own would have: locks are per open file.
                    let cache = Cache::at(&path).expect("cache");
                    let progress = Progress::default();
                    let engine = Engine::new(&cache, nowhere(), "tools", vec![counted(&runs)], &progress);
                    start.wait();
                    engine.ensure("counted").expect("built")
                })
            })
            .collect();
        builds.into_iter().map(|build| build.join().expect("joins")).collect()
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(results.iter().filter(|done| !done.cached).count(), 1);
    assert!(results.iter().all(|done| done.dir == results[0].dir && done.dir.join("result").exists()));
    let left = fs::read_dir(dir.path().join("work")).expect("work").count();
    assert_eq!(left, 0, "work folders stay behind");
}

#[test]
fn only_what_a_killed_build_left_is_cleaned_up() {
    let dir = tempfile::tempdir().expect("tempdir");
    let cache = Cache::at(dir.path()).expect("cache");
    for name in ["alive-1-0", "killed-2-0"] {
        fs::create_dir_all(cache.path("work").join(name).join("build")).expect("mkdir");
    }
    let alive = cache.lock("work-alive-1-0").expect("lock");
    clean_up(&cache, &nowhere()).expect("clean");
    assert!(cache.path("work/alive-1-0/build").exists());
    assert!(!cache.path("work/killed-2-0").exists());
    drop(alive);
}

#[test]
fn another_tools_tree_makes_another_key_only_where_programs_run() {
    let dir = tempfile::tempdir().expect("tempdir");
    let cache = Cache::at(dir.path()).expect("cache");
    let progress = Progress::default();
    let runs = Arc::new(AtomicU32::new(0));
    let mut step = counted(&runs);
    let digests = |tools: &str, step: &Step| {
        Engine::new(&cache, nowhere(), tools, Vec::new(), &progress).input_digests(step, |_, _| None)
    };
    assert_eq!(digests("one", &step), digests("two", &step));
    step.actions.push(Action::run(["true"]));
    assert_ne!(digests("one", &step), digests("two", &step));
}

#[test]
fn a_damaged_input_is_found_before_it_is_used() {
    let dir = tempfile::tempdir().expect("tempdir");
    let cache = Cache::at(dir.path()).expect("cache");
    let progress = Progress::default();
    let runs = Arc::new(AtomicU32::new(0));
    let user = || Step {
        name: "user",
        inputs: vec![Input::Output { step: "counted", file: "result" }],
        actions: vec![Action::native("copies", |dir| {
            Ok(fs::copy(dir.input("result")?, dir.file("copy")).map(|_| ())?)
        })],
        outputs: vec!["copy"],
        ..counted(&runs)
    };
    let first = Engine::new(&cache, nowhere(), "", vec![counted(&runs)], &progress);
    let made = first.ensure("counted").expect("built");
    edgepair_host_io::atomic::write(&made.dir.join("result"), b"y", 0o644).expect("damage");
    let second = Engine::new(&cache, nowhere(), "", vec![counted(&runs), user()], &progress);
    let said = second.ensure("user").expect_err("damaged").to_string();
    assert!(said.contains("was damaged") && said.contains("run the same command again"), "{said}");
    let third = Engine::new(&cache, nowhere(), "", vec![counted(&runs), user()], &progress);
    third.ensure("user").expect("built anew");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}
