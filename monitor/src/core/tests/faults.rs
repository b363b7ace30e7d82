//! Side matters fail, and the rules stand; what takes protection away is asked for twice.

use std::path::PathBuf;

use super::*;

const LIST: &str = "/etc/sluice/list.txt";

fn listed(more: &str) -> StandHost {
    let configuration = format!("{more}{CONFIG}[[access.lists]]\npath = \"{LIST}\"\n");
    StandHost { configuration, ..StandHost::default() }
}

fn problem(bench: &Bench, of: &str) -> String {
    bench.snapshot.problems.iter().find(|told| told.starts_with(of)).cloned().unwrap_or_default()
}

#[test]
fn a_list_that_is_not_there_at_the_start_is_a_problem_and_taken_once_it_is() {
    let mut bench = Bench::with(StandIn::default(), listed(""), Store::in_memory().unwrap());
    bench.tick();
    assert!(problem(&bench, "lists").contains("cannot be read"), "{:?}", bench.snapshot.problems);
    bench.host.lists.insert(PathBuf::from(LIST), "192.0.2.0/24\n".to_owned());
    bench.look();
    bench.tick();
    assert_eq!(problem(&bench, "lists"), "");
    let explained = bench.ask(NOW, Explain { address: "192.0.2.7".parse().unwrap() }).unwrap();
    assert!(explained.denied.is_some(), "{explained:?}");
}

#[test]
fn a_list_that_does_not_fit_is_cut_and_this_is_told() {
    let mut host = listed("capacity.denials = 20\n");
    let lines: Vec<_> = (0..50).map(|n| format!("192.0.2.{}", 2 * n)).collect();
    let text = lines.join("\n");
    host.lists.insert(PathBuf::from(LIST), text);
    let mut bench = Bench::with(StandIn::default(), host, Store::in_memory().unwrap());
    bench.tick();
    let told = problem(&bench, "lists");
    assert!(told.contains("only the first 20 of its 50") && told.contains("capacity.denials"), "{told}");
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
        let refused = bench.ask(NOW, add()).unwrap_err();
        assert_eq!(refused.code, Code::NeedsConfirmation, "{kind:?} {prefix}");
        bench.ask(sure, add()).unwrap();
    }
    assert_eq!(bench.ask(NOW, Detach {}).unwrap_err().code, Code::NeedsConfirmation);
    assert!(!bench.kernel.state().detached);
}

#[test]
fn a_name_that_is_no_interface_lets_nothing_go() {
    let mut bench = Bench::new();
    bench.configure(&CONFIG.replace("eth0", "no-such-one"));
    let refused = bench.ask(NOW, Reload {}).unwrap_err();
    assert_eq!(refused.code, Code::NeedsConfirmation);
    assert!(refused.message.contains("eth0") && refused.message.contains("no-such-one"), "{refused}");
    bench.tick();
    assert_eq!(bench.snapshot.interfaces[0].name, "eth0");
    bench.ask(ChangeOptions { yes: true, ..NOW }, Reload {}).unwrap();
    bench.tick();
    assert_eq!(bench.snapshot.interfaces[0].name, "no-such-one");
}

#[test]
fn a_comment_is_no_place_to_keep_books_in() {
    let mut bench = Bench::new();
    let add =
        AccessAdd { comment: Some("x".repeat(1001)), ..access(AccessKind::Ban, "198.51.100.7/32", None) };
    assert_eq!(bench.ask(NOW, add).unwrap_err().code, Code::Invalid);
}

const FETCHED: &str = "https://lists.example/drop";

#[test]
fn a_list_of_the_web_is_taken_when_it_is_fetched_and_no_page_for_people_takes_its_place() {
    let configuration = format!("{CONFIG}[[access.lists]]\nurl = \"{FETCHED}?key=secret\"\n");
    let host = StandHost { configuration, ..StandHost::default() };
    let mut bench = Bench::with(StandIn::default(), host, Store::in_memory().unwrap());
    bench.tick();
    assert!(problem(&bench, "lists").contains("nothing of the list is in force"));
    let fetch = |bench: &mut Bench, text: &str| {
        bench.host.lists.insert(PathBuf::from(FETCHED), text.to_owned());
        bench.feed(Input::Fetched(FETCHED.to_owned()));
        bench.tick();
        assert!(!bench.snapshot.problems.concat().contains("secret"));
        let explained = bench.ask(NOW, Explain { address: "192.0.2.7".parse().unwrap() }).unwrap();
        (explained.denied.is_some(), bench.snapshot.lists[0].prefixes, problem(bench, "lists"))
    };
    assert_eq!(fetch(&mut bench, "192.0.2.0/24\n198.51.100.0/24\n"), (true, 2, String::new()));
    let (denied, prefixes, told) = fetch(&mut bench, "<html>\n<h1>Please log in</h1>\n");
    assert!(denied && prefixes == 2 && told.contains("nothing in it is an address"), "{told}");
    assert_eq!(fetch(&mut bench, "# nobody today\n"), (false, 0, String::new()));
    assert_eq!(fetch(&mut bench, "192.0.2.0/24\n"), (true, 1, String::new()));
    let (_, lists) = bench.host.last_good.clone().unwrap();
    assert_eq!(lists[0].prefixes.len(), 1, "a start guards with what was fetched last");
}

#[test]
fn a_reload_takes_a_list_that_is_not_fetched_yet_and_a_fetch_reads_that_list_alone() {
    let mut bench = Bench::with(StandIn::default(), listed(""), Store::in_memory().unwrap());
    bench.host.lists.insert(PathBuf::from(LIST), "198.51.100.0/24\n".to_owned());
    bench.look();
    let text =
        format!("{CONFIG}[[access.lists]]\npath = \"{LIST}\"\n[[access.lists]]\nurl = \"{FETCHED}\"\n");
    bench.configure(&text);
    let reloaded = bench.ask(NOW, Reload {}).unwrap();
    assert!(reloaded.warnings.concat().contains(FETCHED), "{:?}", reloaded.warnings);
    bench.host.lists.insert(PathBuf::from(FETCHED), "192.0.2.0/24\n".to_owned());
    bench.feed(Input::Fetched(FETCHED.to_owned()));
    bench.tick();
    let prefixes = |bench: &Bench| bench.snapshot.lists.iter().map(|list| list.prefixes).collect::<Vec<_>>();
    assert_eq!(prefixes(&bench), [1, 1]);
    // The file is gone, and only what was fetched is read again.
    bench.host.lists.remove(std::path::Path::new(LIST));
    bench.host.lists.insert(PathBuf::from(FETCHED), "192.0.2.0/24\n203.0.113.0/24\n".to_owned());
    bench.feed(Input::Fetched(FETCHED.to_owned()));
    bench.tick();
    assert_eq!((prefixes(&bench), problem(&bench, "lists")), (vec![1, 2], String::new()));
}
