//! The control API: its requests with the role that each needs, answers and errors, and the client.
//!
//! A [`Command`] is one type: its fields are the request, and it names its answer, role, path and meaning. The HTTP routes,
//! the role check, the [`openapi`] description, the client and the reference pages follow from it. Here are values only:
//! nothing decides and nothing is stored.

pub mod access;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod client;
pub mod command;
pub mod config;
pub mod containments;
pub mod error;
pub mod escape;
pub mod explanation;
pub mod flows;
pub mod history;
pub mod incidents;
pub mod life;
pub mod limits;
pub mod openapi;
pub mod origin;
pub mod panic;
pub mod posture;
pub mod schema;
pub mod shape;
pub mod snapshot;
pub mod sources;
pub mod status;
pub mod tune;

pub use command::{
    Applied, ChangeOptions, Command, Done, Endpoint, LONGEST_WAIT_SECONDS, Method, Role, Versioned,
};
pub use error::{Code, Error};
pub use origin::Origin;

/// Hands every command that the engine performs to `$use`, in the order of the reference: the one list of them.
/// (`GET /v1/status`, the audit and the backup are not in it: they are answered without the engine.)
#[macro_export]
macro_rules! commands {
    ($use:ident) => {
        $use! {
            $crate::sources::SourceQuery,
            $crate::explanation::Explain,
            $crate::limits::ListLimits,
            $crate::limits::LimitSet,
            $crate::limits::LimitUnset,
            $crate::access::ListAccess,
            $crate::access::AccessAdd,
            $crate::access::AccessImport,
            $crate::access::AccessRemove,
            $crate::containments::ListContainments,
            $crate::containments::ContainmentSet,
            $crate::containments::ContainmentLift,
            $crate::alerts::AlertQuery,
            $crate::alerts::AlertShow,
            $crate::alerts::AlertClose,
            $crate::alerts::AlertSilence,
            $crate::alerts::ListSilences,
            $crate::alerts::SilenceLift,
            $crate::flows::FlowQuery,
            $crate::flows::ShowGraph,
            $crate::posture::ShowPosture,
            $crate::config::ShowConfig,
            $crate::config::Reload,
            $crate::tune::TuneQuery,
            $crate::tune::TuneTry,
            $crate::tune::TuneEnd,
            $crate::tune::TuneApply,
            $crate::tune::TuneForget,
            $crate::history::Confirm,
            $crate::history::HistoryQuery,
            $crate::history::Revert,
            $crate::panic::PanicSwitch,
            $crate::life::Stop,
            $crate::life::Detach,
        }
    };
}
