//! Outsiders raise as many findings as they can: they become one, and an insider is found and told all the same.

use super::scene::{Goes, MS, S, Scene};
use crate::{
    Parameters,
    finding::{Detector, Finding},
    ledger::ChangeKind,
    parameters::Hygiene,
};

const ROOM: usize = 64;
const TOLD: u32 = 10;

fn pressed() -> Scene {
    let findings = Hygiene { open_findings: ROOM, notifications_per_minute: TOLD, ..Hygiene::default() };
    Scene::with(&Parameters { findings, ..Parameters::default() })
}

fn scan(scene: &mut Scene, source: &str, target: &str) {
    for port in 0..40 {
        scene.connect(source, target, 1000 + port, Goes::Refused);
    }
    scene.pass(10 * MS);
}

fn of<'a>(scene: &'a Scene, subject: &'a str) -> impl Iterator<Item = &'a Finding> {
    scene
        .detection
        .open_findings()
        .map(|(_, finding)| finding)
        .filter(move |finding| finding.subject == subject)
}

fn told(scene: &Scene, subject: &str) -> bool {
    let opened = |change: &&crate::ledger::FindingChange| change.kind == ChangeKind::Opened;
    scene.changes.iter().filter(opened).any(|change| change.finding.subject == subject && change.notify)
}

#[test]
fn outsiders_are_merged_by_victim_and_an_insider_is_found_and_told() {
    let mut scene = pressed();
    for number in 0..400 {
        let source = format!("203.{}.113.{}", number / 200, number % 200 + 1);
        scan(&mut scene, &source, if number % 2 == 0 { "10.0.7.1" } else { "10.0.7.2" });
    }
    let merged: Vec<_> = of(&scene, "many outside addresses").collect();
    let victims: Vec<_> = merged.iter().filter_map(|finding| finding.target.as_deref()).collect();
    assert!(victims.contains(&"10.0.7.1") && victims.contains(&"10.0.7.2"), "{merged:?}");
    assert!(merged.iter().all(|finding| finding.evidence.contains_key("one_of_them")), "{merged:?}");
    let open = scene.detection.open_findings().count();
    assert!(open <= ROOM / 2 + Detector::ALL.len(), "{open} are open");
    let dropped = scene.detection.dropped().clone();
    assert!(dropped.merged > 300 && dropped.held_back > 0 && dropped.no_room == 0, "{dropped:?}");
    let is_news = |kind| matches!(kind, ChangeKind::Opened | ChangeKind::Escalated);
    let about: Vec<_> = scene.changes.iter().filter(|change| change.notify && is_news(change.kind)).collect();
    let about: Vec<_> =
        about.iter().map(|change| (&change.finding.subject, change.finding.detector)).collect();
    assert!(about.len() <= TOLD as usize / 2, "{about:?} were told");
    for insider in ["10.0.0.9", "10.0.0.10", "10.0.0.11"] {
        scan(&mut scene, insider, "10.0.7.1");
        assert_eq!(of(&scene, insider).count(), 1, "{insider}");
        assert!(told(&scene, insider), "{insider}");
    }
}

#[test]
fn a_few_outsiders_are_told_one_by_one_and_again_once_the_pressure_is_over() {
    let mut scene = pressed();
    scan(&mut scene, "203.0.113.1", "10.0.7.1");
    assert!(told(&scene, "203.0.113.1"));
    for number in 0..200 {
        scan(&mut scene, &format!("198.51.100.{}", number + 1), "10.0.7.1");
    }
    assert!(scene.detection.dropped().merged > 0);
    // The hold passes, everything closes.
    scene.pass(1000 * S).pass(2 * S);
    assert_eq!(scene.detection.open_findings().count(), 0);
    scan(&mut scene, "192.0.2.77", "10.0.7.1");
    assert_eq!(of(&scene, "192.0.2.77").count(), 1);
}
