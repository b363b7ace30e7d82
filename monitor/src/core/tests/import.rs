//! Lists of prefixes that are taken over while running.

use super::*;

const LIST: &str = "# two networks and one that must not be covered\n\
                    203.0.113.0/24\n198.51.100.0/25 ; half\n10.0.0.0/8\nnonsense\n";

fn list(kind: AccessKind, dry_run: bool) -> AccessImport {
    AccessImport { name: "list.txt".to_owned(), kind, text: LIST.to_owned(), dry_run, for_seconds: None }
}

fn denied(bench: &mut Bench) -> Vec<String> {
    let lists = bench.ask(NOW, ListAccess {}).unwrap();
    lists.denied.iter().map(|entry| entry.prefix.to_string()).collect()
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let mut bench = Bench::new();
    let import = list(AccessKind::Deny, true);
    let applied = bench.ask(NOW, import).unwrap();
    assert_eq!(applied.change, None);
    assert_eq!(applied.summary[0], "list.txt: 2 prefixes, 2 of them new, 2 lines skipped");
    assert_eq!(applied.warnings.len(), 2, "{:?}", applied.warnings);
    assert!(denied(&mut bench).is_empty());
}

#[test]
fn a_list_is_one_change_that_can_be_taken_back() {
    let mut bench = Bench::new();
    let import = list(AccessKind::Deny, false);
    let applied = bench.ask(NOW, import.clone()).unwrap();
    assert_eq!(denied(&mut bench).len(), 2);
    let again = bench.ask(NOW, import).unwrap();
    assert_eq!(again.change, None, "{again:?}");
    let number = applied.change.unwrap();
    bench.ask(NOW, Revert { number }).unwrap();
    assert!(denied(&mut bench).is_empty());
}

#[test]
fn a_list_is_not_a_list_of_bans_and_is_not_kept() {
    let mut bench = Bench::new();
    let refused = bench.ask(NOW, list(AccessKind::Ban, false));
    assert_eq!(refused.unwrap_err().code, Code::Invalid);
    let save = ChangeOptions { save: true, ..NOW };
    let refused = bench.ask(save, list(AccessKind::Deny, false));
    assert!(refused.unwrap_err().to_string().contains("access.lists"));
}

#[test]
fn ten_thousand_prefixes_are_one_change_too() {
    let mut bench = Bench::new();
    let text = (0..10_000).fold(String::new(), |text, n: u32| {
        // Every other /24, so that none can be joined with its neighbour.
        let [_, a, b, _] = (n * 512).to_be_bytes();
        text + &format!("203.{a}.{b}.0/28\n")
    });
    let import = AccessImport { text, ..list(AccessKind::Deny, false) };
    let applied = bench.ask(NOW, import).unwrap();
    assert!(applied.summary.len() < 20, "{}", applied.summary.len());
    assert_eq!(denied(&mut bench).len(), 10_000);
}

#[test]
fn one_denial_among_many_is_an_edit_of_the_kernels_rules() {
    let mut bench = Bench::new();
    let text = (0..3000u32).fold(String::new(), |text, n| {
        let [_, a, b, _] = (n * 512).to_be_bytes();
        text + &format!("203.{a}.{b}.0/28\n")
    });
    bench.ask(NOW, AccessImport { text, ..list(AccessKind::Deny, false) }).unwrap();
    let edits = |bench: &Bench| bench.kernel.state().edits.clone();
    assert!(edits(&bench).is_empty(), "so many are compiled");
    bench.ask(NOW, access(AccessKind::Deny, "198.51.100.7/32", None)).unwrap();
    let edited = edits(&bench).pop().unwrap();
    assert_eq!((edited.denials.len(), edited.forgotten.len()), (1, 0));
    assert!((1..=5).contains(&edited.nodes.len()), "{} nodes", edited.nodes.len());
    let remove = AccessRemove { kind: AccessKind::Deny, prefix: "198.51.100.7/32".parse().unwrap() };
    bench.ask(NOW, remove).unwrap();
    let edited = edits(&bench).pop().unwrap();
    assert_eq!((edited.denials.len(), edited.forgotten.len(), edited.nodes.len()), (0, 1, 1));
}

#[test]
fn after_an_edit_that_the_kernel_refused_the_rules_are_compiled() {
    let mut bench = Bench::new();
    let deny = |prefix| access(AccessKind::Deny, prefix, None);
    bench.ask(NOW, deny("198.51.100.7/32")).unwrap();
    let edits = bench.kernel.state().edits.len();
    bench.kernel.state().refuses_rules = true;
    bench.ask(NOW, deny("198.51.100.8/32")).unwrap_err();
    bench.kernel.state().refuses_rules = false;
    bench.ask(NOW, deny("198.51.100.9/32")).unwrap();
    assert_eq!(bench.kernel.state().edits.len(), edits);
    assert_eq!(denied(&mut bench), ["198.51.100.7/32", "198.51.100.9/32"]);
    let image = bench.kernel.state().image.clone().unwrap();
    assert_eq!(image.denials.len(), 2);
}
