//! `posture`: flows as they stand and those that ended lately in; what each service speaks out. It keeps nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Flow, FlowEncryption, FlowEnd};
use api::posture::ServicePosture;

/// Sums flows by who answers and where, least encrypted first.
pub fn of(flows: impl IntoIterator<Item = Flow>) -> Vec<ServicePosture> {
    let mut services = BTreeMap::new();
    for flow in flows {
        if flow.application == "none" {
            continue;
        }
        let key = (flow.responder, flow.protocol.clone(), flow.responder_port);
        add(services.entry(key).or_insert_with(|| empty(&flow)), &flow);
    }
    let mut services: Vec<_> = services.into_values().collect();
    for service in &mut services {
        let known = service.encrypted + service.in_clear;
        service.share_encrypted = (known > 0).then(|| share(service.encrypted, known));
    }
    let order = |service: &ServicePosture| service.share_encrypted.unwrap_or(1.0);
    services.sort_by(|one, other| {
        order(one).total_cmp(&order(other)).then(other.conversations.cmp(&one.conversations))
    });
    services
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 1000.0).round() / 1000.0
}

fn empty(flow: &Flow) -> ServicePosture {
    ServicePosture {
        server: flow.responder,
        protocol: flow.protocol.clone(),
        port: flow.responder_port,
        workload: None,
        applications: BTreeSet::new(),
        conversations: 0,
        encrypted: 0,
        in_clear: 0,
        share_encrypted: None,
        versions: BTreeMap::new(),
        credentials_in_clear: 0,
        clear_since: None,
        clear_until: None,
        clear_clients: BTreeSet::new(),
    }
}

fn add(service: &mut ServicePosture, flow: &Flow) {
    let count = flow.conversations;
    service.conversations += count;
    service.applications.insert(flow.application.clone());
    if flow.workload_end == Some(FlowEnd::Responder) {
        service.workload.clone_from(&flow.workload);
    }
    if let Some(version) = &flow.tls_version {
        *service.versions.entry(version.clone()).or_default() += count;
    }
    if flow.credentials_in_clear {
        service.credentials_in_clear += count;
    }
    match flow.encryption {
        FlowEncryption::Unknown => {}
        FlowEncryption::Native | FlowEncryption::Tls | FlowEncryption::Upgraded => service.encrypted += count,
        FlowEncryption::Clear => {
            service.in_clear += count;
            let since = service.clear_since.unwrap_or(flow.first_seen);
            service.clear_since = Some(since.min(flow.first_seen));
            service.clear_until = service.clear_until.max(Some(flow.last_seen));
            if service.clear_clients.len() < ServicePosture::CLIENTS {
                service.clear_clients.insert(flow.initiator);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{flow, noon};

    #[test]
    fn services_are_summed_and_the_least_encrypted_comes_first() {
        let tls = flow();
        let clear = |client: &str, times| Flow {
            initiator: client.parse().unwrap(),
            responder_port: 5432,
            application: "postgresql".to_owned(),
            encryption: FlowEncryption::Clear,
            tls_version: None,
            credentials_in_clear: times == 3,
            conversations: times,
            ..flow()
        };
        let upgraded = Flow { encryption: FlowEncryption::Upgraded, ..clear("10.0.0.7", 4) };
        let nothing = Flow { application: "none".to_owned(), responder_port: 1, ..flow() };
        let services = of([tls, clear("10.0.0.5", 3), clear("10.0.0.6", 1), upgraded, nothing]);
        let ports: Vec<_> = services.iter().map(|service| (service.port, service.share_encrypted)).collect();
        assert_eq!(ports, [(5432, Some(0.5)), (443, Some(1.0))]);
        let database = &services[0];
        assert_eq!((database.conversations, database.encrypted, database.in_clear), (8, 4, 4));
        assert_eq!((database.credentials_in_clear, database.clear_clients.len()), (3, 2));
        assert_eq!((database.clear_since, database.clear_until), (Some(noon()), Some(noon())));
        assert_eq!(services[1].versions["tls1.3"], 1);
        assert!(services[1].clear_clients.is_empty() && services[1].clear_since.is_none());
    }

    #[test]
    fn what_is_not_known_has_no_share() {
        let odd = Flow { encryption: FlowEncryption::Unknown, application: "binary".to_owned(), ..flow() };
        let services = of([odd, Flow { responder_port: 22, ..flow() }]);
        let share = |port| services.iter().find(|service| service.port == port).unwrap().share_encrypted;
        assert_eq!((share(443), share(22)), (None, Some(1.0)));
    }
}
