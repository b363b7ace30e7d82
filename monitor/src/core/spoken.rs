//! What the services of this host spoke: conversations that ended, by service, protocol and encryption.
//!
//! In: flow records, the rules in force. Out: rows for the metrics. Bounded by the services, the protocols and the encryptions that
//! have a name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use monitor_common::application::{Recognition, encryption, protocol};
use monitor_common::conversation::{Record, record_kind};

use super::names::Names;
use crate::snapshot::{self, address_of};
use policy::Image;

/// Conversations by the service's number, a [`protocol`] and an [`encryption`].
#[derive(Debug, Default)]
pub struct Spoken(BTreeMap<(u32, u32, u32), u64>);

impl Spoken {
    /// Takes records: a conversation counts once, when it ends, and only if data was seen of it.
    pub fn take(&mut self, records: &[Record], image: &Image, own: &[IpAddr]) {
        for record in records {
            let recognised = Recognition(record.recognised);
            let spoke = record.kind == record_kind::ENDED && recognised.protocol() != protocol::NONE;
            let server = address_of(record.responder);
            if spoke && own.contains(&server) {
                let service = image.service_at(record.protocol, server, record.responder_port);
                *self.0.entry((service, recognised.protocol(), recognised.encryption())).or_default() += 1;
            }
        }
    }

    pub fn snapshot(&self, names: &Names<'_>) -> Vec<snapshot::Spoken> {
        let row = |((service, spoken, encrypted), count): (&(u32, u32, u32), &u64)| snapshot::Spoken {
            service: names.service(*service),
            application: protocol::label(*spoken).to_owned(),
            encryption: encryption::label(*encrypted).to_owned(),
            conversations: *count,
        };
        self.0.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use monitor_common::flow::protocol::TCP;
    use monitor_common::plain::Plain as _;
    use policy::config::Config;
    use policy::{Environment, Numbering, Rules, compile};

    use super::*;

    #[test]
    fn a_conversation_counts_once_under_its_service_and_only_where_this_host_answers() {
        let text = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443]\n";
        let rules = Rules::new(Arc::new(Config::parse(text, "test.toml").unwrap()));
        let environment = Environment::assumed(jiff::Timestamp::UNIX_EPOCH);
        let image = compile(&rules, &Numbering::default(), &environment).unwrap();
        let tls = Recognition::new(protocol::TLS, encryption::TLS).0;
        let own = monitor_common::flow::mapped([10, 0, 0, 1]);
        let record = |kind, responder, port, recognised| Record {
            kind,
            responder,
            responder_port: port,
            recognised,
            protocol: u32::from(TCP),
            ..Record::zeroed()
        };
        let records = [
            record(record_kind::ACTIVE, own, 443, tls),
            record(record_kind::ENDED, own, 443, tls),
            record(record_kind::ENDED, own, 443, 0),
            record(record_kind::ENDED, own, 80, Recognition::new(protocol::HTTP, encryption::CLEAR).0),
            record(record_kind::ENDED, monitor_common::flow::mapped([192, 0, 2, 9]), 443, tls),
        ];
        let mut spoken = Spoken::default();
        spoken.take(&records, &image, &["10.0.0.1".parse().unwrap()]);
        let web = image.numbering.service("web").unwrap();
        let wanted =
            [((0, protocol::HTTP, encryption::CLEAR), 1), ((web, protocol::TLS, encryption::TLS), 1)];
        assert_eq!(spoken.0.into_iter().collect::<Vec<_>>(), wanted);
    }
}
