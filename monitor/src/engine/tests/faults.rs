//! Side matters fail, and the rules stand; what takes protection away is asked for twice.

use super::*;

const LISTED: &str = "[[access.lists]]\npath = \"LIST\"\n";

fn with_list(files: &Path, more: &str) -> PathBuf {
    let list = files.join("list.txt");
    let listed = LISTED.replace("LIST", &list.display().to_string());
    std::fs::write(files.join("sluice.toml"), format!("{more}{CONFIG}{listed}")).unwrap();
    list
}

fn problem(engine: &Engine, of: &str) -> String {
    engine.problems.get(of).cloned().unwrap_or_default()
}

#[test]
fn a_list_that_is_not_there_at_the_start_is_a_problem_and_taken_once_it_is() {
    let files = tempfile::tempdir().unwrap();
    let list = with_list(files.path(), "");
    let (mut engine, _handle) = start(files.path(), &StandIn::default()).unwrap();
    assert!(problem(&engine, "lists").contains("cannot be read"), "{:?}", engine.problems);
    std::fs::write(&list, "192.0.2.0/24\n").unwrap();
    engine.retry();
    assert_eq!(
        (engine.standing.rules.lists[0].prefixes.len(), problem(&engine, "lists")),
        (1, String::new())
    );
    // The next start knows it, whatever became of the file.
    std::fs::remove_file(&list).unwrap();
    let kept = last_good::lists(&files.path().join("state"));
    assert_eq!(kept, engine.standing.rules.lists);
}

#[test]
fn a_list_that_does_not_fit_is_cut_and_this_is_told() {
    let files = tempfile::tempdir().unwrap();
    let list = with_list(files.path(), "capacity.denials = 20\n");
    let text: String = (0..50).map(|n| format!("192.0.2.{}\n", 2 * n)).collect();
    std::fs::write(&list, text).unwrap();
    let (engine, _handle) = start(files.path(), &StandIn::default()).unwrap();
    assert_eq!(engine.standing.rules.lists[0].prefixes.len(), 20);
    let told = problem(&engine, "lists");
    assert!(told.contains("only the first 20 of its 50") && told.contains("capacity.denials"), "{told}");
}

#[test]
fn a_store_with_nonsense_in_it_costs_no_rules() {
    let bench = Bench::new();
    let state = bench.files.path().join("state");
    let Bench { files, kernel, engine, handle } = bench;
    drop((engine, handle));
    rusqlite::Connection::open(state.join("sluice.db"))
        .unwrap()
        .execute_batch(
            "INSERT INTO override VALUES ('nonsense', '1', 'x', 1);
             INSERT INTO access VALUES ('deny', 'nobody', 1, NULL, 0, NULL, 'x');
             DROP TABLE learned;",
        )
        .unwrap();
    let (engine, _handle) = start(files.path(), &kernel).unwrap();
    assert!(kernel.state().image.is_some());
    assert!(problem(&engine, "read the store").contains("nonsense"), "{:?}", engine.problems);
}

#[test]
fn what_cuts_the_host_off_or_takes_its_guard_is_asked_for_twice() {
    let mut bench = Bench::new();
    let sure = ChangeOptions { yes: true, ..NOW };
    let asked = [
        (AccessKind::Ban, "198.18.77.1/32"),
        (AccessKind::Deny, "198.18.77.1/32"),
        (AccessKind::Deny, "198.18.77.0/24"),
        (AccessKind::Deny, "198.18.0.0/15"),
        (AccessKind::Exempt, "0.0.0.0/0"),
    ];
    for (kind, prefix) in asked {
        let add = || access(kind, prefix, Some(60));
        let refused = bench.ask(NOW, |reply| Command::AccessAdd(add(), reply)).unwrap_err();
        assert_eq!(refused.code, Code::NeedsConfirmation, "{kind:?} {prefix}");
        bench.ask(sure, |reply| Command::AccessAdd(add(), reply)).unwrap();
    }
    assert_eq!(bench.ask(NOW, Command::Detach).unwrap_err().code, Code::NeedsConfirmation);
    assert!(!bench.kernel.state().detached);
}

#[test]
fn a_name_that_is_no_interface_lets_nothing_go() {
    let mut bench = Bench::new();
    std::fs::write(bench.config(), CONFIG.replace("eth0", "no-such-one")).unwrap();
    let refused = bench.ask(NOW, Command::Reload).unwrap_err();
    assert_eq!(refused.code, Code::NeedsConfirmation);
    assert!(refused.message.contains("eth0") && refused.message.contains("no-such-one"), "{refused}");
    assert_eq!(bench.engine.guarded[0].name, "eth0");
    bench.ask(ChangeOptions { yes: true, ..NOW }, Command::Reload).unwrap();
    assert_eq!(bench.engine.guarded[0].name, "no-such-one");
}

#[test]
fn a_comment_is_no_place_to_keep_books_in() {
    let mut bench = Bench::new();
    let add =
        AccessAdd { comment: Some("x".repeat(1001)), ..access(AccessKind::Ban, "198.51.100.7/32", None) };
    assert_eq!(bench.ask(NOW, |reply| Command::AccessAdd(add, reply)).unwrap_err().code, Code::Invalid);
}
