//! Whether what a conversation speaks is what its port is for: the port alone says little.

use monitor_common::{
    application::{Recognition, encryption, protocol},
    conversation::outcome,
};

use crate::contact::Contact;

/// Ports of HTTP in clear.
const WEB: [u16; 8] = [80, 3128, 8000, 8008, 8080, 8081, 8088, 8888];
/// Ports of TLS from the first byte, on which an address of one's own protocol hides.
const SEALED: [u16; 3] = [443, 853, 8443];

/// Largest acknowledgement of a report, and the smallest report.
const THANKS: f64 = 32.0;
const REPORT: f64 = 256.0;

/// What is known of the protocol, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Unknown,
    /// A protocol whose programs keep conversations open with heartbeats, on whatever port.
    Lasting,
    /// HTTP in clear on a port of TLS, or on one of nobody's.
    ClearHttp,
    /// Something else than TLS on a port of TLS.
    NotTls,
}

impl Speech {
    pub fn of(contact: &Contact<'_>) -> Self {
        let known = Recognition(contact.record.recognised);
        let spoken = known.protocol();
        let lasting = [
            protocol::MQTT,
            protocol::AMQP,
            protocol::NATS,
            protocol::KAFKA,
            protocol::REDIS,
            protocol::POSTGRESQL,
            protocol::MYSQL,
            protocol::MONGODB,
            protocol::WIREGUARD,
            protocol::QUIC,
            protocol::DTLS,
        ];
        let is_whole = contact.record.outcome == outcome::ESTABLISHED;
        match spoken {
            _ if lasting.contains(&spoken) => Self::Lasting,
            protocol::HTTP if known.encryption() == encryption::CLEAR && !WEB.contains(&contact.port) => {
                Self::ClearHttp
            }
            protocol::TEXT | protocol::BINARY
                if is_whole && contact.is_tcp() && SEALED.contains(&contact.port) =>
            {
                Self::NotTls
            }
            _ => Self::Unknown,
        }
    }

    /// Whether the port is odd for it, given what the port alone says.
    pub const fn is_odd(self, by_port: bool) -> bool {
        match self {
            Self::Unknown => by_port,
            Self::Lasting => false,
            Self::ClearHttp | Self::NotTls => true,
        }
    }
}

/// Whether what is sent is only acknowledged.
pub fn is_thanked(sent: f64, received: f64, known: usize) -> bool {
    known >= 3 && received > 0.0 && received <= THANKS && sent >= REPORT && sent >= 8.0 * received
}
