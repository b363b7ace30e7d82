//! Rules flip atomically: while they change under a constant stream, no packet is judged by a mixture.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use monitor_common::verdict::Reason::*;
use monitor_tests::{
    harness::{
        packet::packet,
        program::Program,
        rules::{self, START},
    },
    or_skip,
};

/// Rules that send port 53 to `service` and deny `denied`.
fn text(service: &str, denied: &str) -> String {
    format!(
        "[access]\ninside = []\ndenied = [\"{denied}\"]\n[[service]]\nname = \"{service}\"\nprotocol = \"udp\"\n\
         ports = [53]\nmode = \"enforce\"\nlimit = {{ packets = \"1G/s\" }}\n"
    )
}

#[test]
fn no_packet_is_judged_by_a_mixture_over_a_thousand_flips() {
    let program = or_skip!("flips", Program::load());
    // Under alpha, P is denied and Q goes to alpha; under beta, Q is denied and P goes to beta. A packet of P at alpha, or
    // of Q at beta, would have been judged by half of each.
    let alpha = rules::compile(&text("alpha", "10.66.0.0/16"), None).unwrap();
    let beta = rules::compile(&text("beta", "10.77.0.0/16"), Some(&alpha)).unwrap();
    let (at_alpha, at_beta) = (rules::number(&alpha, "alpha"), rules::number(&beta, "beta"));
    assert_ne!(at_alpha, at_beta);
    program.set_clock(START);
    program.install(&alpha);
    let over = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let frames = ["10.66.0.1", "10.77.0.1"].map(|source| packet().source(source).udp(1000, 53).build());
    thread::scope(|scope| {
        for frame in &frames {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    program.judge(frame, 100);
                    sent.fetch_add(100, Ordering::Relaxed);
                }
            });
        }
        for flip in 0..1000 {
            // Every tenth time the idle generation is written anew under the stream.
            if flip % 10 < 2 {
                program.install(if flip % 2 == 0 { &beta } else { &alpha });
            } else {
                program.flip();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(
        program.source("10.66.0.1", at_alpha).is_none(),
        "P was judged by alpha's services, beta's prefixes"
    );
    assert!(
        program.source("10.77.0.1", at_beta).is_none(),
        "Q was judged by beta's services, alpha's prefixes"
    );
    let (denied, a, b) =
        (program.ended(0, Denied), program.ended(at_alpha, Accepted), program.ended(at_beta, Accepted));
    assert!(denied > 1000 && a > 1000 && b > 1000, "{denied} denied, {a} at alpha, {b} at beta");
    assert_eq!(denied + a + b, sent.into_inner(), "some packets ended otherwise");
    println!("{denied} denied, {a} at alpha, {b} at beta");
}
