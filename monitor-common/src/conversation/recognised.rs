//! Which packets of a conversation are looked at for what it speaks, and what becomes of the look.

use super::{Conversation, state};
use crate::{
    application::{Recognition, lead::Lead},
    flow::protocol,
    parse::Frame,
};

/// Whether a packet carries data whose beginning may say what it is.
#[inline(always)]
pub const fn carries(frame: &Frame) -> bool {
    frame.payload != 0 && matches!(frame.protocol, protocol::TCP | protocol::UDP)
}

impl Conversation {
    /// Whether a packet carries data that is to be looked at.
    #[inline(always)]
    pub const fn is_open_to(&self, frame: &Frame, sender_is_higher: bool) -> bool {
        carries(frame)
            && Recognition(self.recognised).is_open(self.is_forward(sender_is_higher))
            && self.state & state::CLOSED == 0
    }

    /// After a look at the beginning of a segment of this upper protocol.
    #[inline(always)]
    pub fn recognise(&mut self, lead: &Lead, upper: u8, sender_is_higher: bool, plain: impl Fn(u32) -> u32) {
        let forward = self.is_forward(sender_is_higher);
        self.recognised = Recognition(self.recognised).see_by(lead, upper, forward, plain).0;
    }

    #[inline(always)]
    const fn is_forward(&self, sender_is_higher: bool) -> bool {
        sender_is_higher == (self.state & state::INITIATOR_IS_HIGHER != 0)
    }
}
