//! What the conversation behind a signal speaks, as evidence.
//!
//! In: a contact and the signals that it led to. Out: `application` and `encryption` among the evidence of those about its source
//! and its service.

use monitor_common::application::{Recognition, encryption, protocol};
use serde_json::Value;

use super::{
    contact::Contact,
    finding::{Party, Service, Signals},
};

/// Adds it, where data was seen.
pub fn note(contact: &Contact<'_>, signals: &mut Signals) {
    let recognised = Recognition(contact.record.recognised);
    if recognised.protocol() == protocol::NONE || signals.is_empty() {
        return;
    }
    let (subject, service) = (Party::Address(contact.source), Service::new(contact.protocol, contact.port));
    for signal in signals.iter_mut() {
        if signal.subject == subject && signal.service.as_ref() == Some(&service) {
            let facts = [
                ("application", protocol::label(recognised.protocol())),
                ("encryption", encryption::label(recognised.encryption())),
            ];
            for (name, value) in facts {
                signal.evidence.entry(name).or_insert_with(|| Value::from(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::application::{Recognition, encryption, protocol};

    use crate::tests::scene::{Goes, MS, Scene};

    #[test]
    fn a_finding_about_a_conversation_says_what_it_speaks() {
        let mut scene =
            Scene { recognised: Recognition::new(protocol::SSH, encryption::NATIVE), ..Scene::default() };
        scene.connect("10.0.0.5", "10.0.0.9", 22, Goes::Well(4000, 4000, 3_700_000 * MS));
        let finding = scene
            .changes
            .iter()
            .map(|change| &change.finding)
            .find(|finding| finding.detector == crate::finding::Detector::LongConnection);
        let evidence = &finding.expect("a long connection").evidence;
        assert_eq!((&evidence["application"], &evidence["encryption"]), (&"ssh".into(), &"native".into()));
    }
}
