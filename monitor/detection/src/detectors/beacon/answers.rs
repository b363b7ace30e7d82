//! A conversation in which the end that began it answers: a shell that was turned round, tasks of a remote control.
//!
//! In: bursts of one conversation. Out: a call, with or without a rhythm. A client asks with little and is answered with
//! more; who is asked by its server, little each time, and sends more back, is not its server's client.

use super::{Beacon, Bursts, Call, SECOND, rhythm, rhythm::Beat};
use crate::{contact::Contact, lookups::Naming};

/// Bursts below which nothing is said.
const BURSTS: usize = 12;
/// How long it lasts at least, in seconds.
const LASTS: u64 = 120;
/// What is sent for each byte that is received, at least.
const RATIO: f64 = 3.0;
/// Questions and answers that a person or a task makes, at most.
const QUESTION: f64 = 256.0;
const ANSWER: f64 = 8192.0;

impl Beacon {
    pub(super) fn answers(
        &self,
        bursts: &Bursts,
        beat: Beat,
        naming: Naming,
        contact: &Contact<'_>,
    ) -> Option<Call> {
        let p = &self.parameters;
        let lasts = contact.duration() / SECOND >= LASTS;
        let odd_port = !p.heartbeat_ports.contains(&contact.port) && !p.usual_ports.contains(&contact.port);
        if !contact.is_tcp()
            || contact.destination_inside
            || !odd_port
            || !lasts
            || naming == Naming::Named
            || bursts.sent.len() < BURSTS
        {
            return None;
        }
        let answered =
            bursts.sent.iter().zip(&bursts.received).filter(|(up, down)| **up >= 1.0 && **down >= 1.0);
        let (sent, received) = (rhythm::sizes(&bursts.sent).0, rhythm::sizes(&bursts.received).0);
        let is_turned = sent >= RATIO * received && received > 0.0 && received <= QUESTION && sent <= ANSWER;
        if answered.count() * 5 < bursts.sent.len() * 3 || !is_turned {
            return None;
        }
        Some(Call {
            score: 0.6,
            beats: bursts.sent.len(),
            total: u64::from(bursts.count),
            first_at: bursts.first_at,
            unit: "answers",
            unnamed: true,
            odd_port,
            naming,
            own_timers: bursts.own_timers(),
            ..Call::new(beat)
        })
    }
}
