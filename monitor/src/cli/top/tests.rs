//! The screen as text: what keys show and what they ask for.

use api::access::AccessList;
use api::flows::FlowList;
use api::sources::SourceList;
use api::{Applied, ChangeOptions};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::panes::Answers;
use super::run::Event;
use super::theme::Theme;
use super::view::{Step, View};
use super::worker::Wanted;
use crate::cli::samples::{alert, ban, change, flow, noon, snapshot, source};
use crate::cli::{Exit, Failure};

fn answers() -> Answers {
    let mut calm = source();
    calm.source = "2001:db8:1234:5678::/64".parse().unwrap();
    (calm.packets_per_second, calm.dropped_per_second, calm.exceeding) = (12.0, 0.0, false);
    Answers {
        status: snapshot(),
        sources: SourceList {
            at: noon(),
            matched: 2,
            sources: vec![source(), calm],
            next: None,
            senders: Vec::new(),
        },
        access: AccessList { exempt: Vec::new(), denied: Vec::new(), banned: vec![ban()] },
        flows: FlowList { at: noon(), matched: 1, flows: vec![flow()] },
        alerts: vec![alert()],
        changes: vec![change()],
    }
}

fn view() -> View {
    let mut view = View::new(Theme { color: false, unicode: true });
    view.take(Event::Answers(Ok(Box::new(answers()))));
    view
}

fn press(view: &mut View, keys: &str) -> Step {
    let mut step = Step::default();
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        step = view.take(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    step
}

fn shown(view: &mut View, width: u16, height: u16) -> (String, Terminal<TestBackend>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| super::draw::draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(width.into());
    let lines = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    let text = lines.map(|line| line.trim_end().to_owned() + "\n").collect();
    (text, terminal)
}

fn text(view: &mut View) -> String {
    shown(view, 80, 24).0
}

#[test]
fn eighty_columns_show_every_pane_and_the_rows_of_one() {
    let wanted = "\
sluice 0.1.0  up 1 h 1 min  offered 50.0 k/s █  dropped 48.0 k/s █
configuration embedded default, 0 findings open
─ 1 Interfaces: 1 guarded ──────────────────────────────────────────────────────
─ 2 Services: 2 known ──────────────────────────────────────────────────────────
─ 3 Sources: 1 tracked, 1 over a limit, 1 banned ───────────────────────────────
SOURCE                   SERVICE  PACKETS/S  DROPPED/S  STATE
198.51.100.9             web         50.0 k     48.0 k  banned, over in 10 min
2001:db8:1234:5678::/64  web             12          0
";
    let mut view = view();
    let all = text(&mut view);
    assert!(all.starts_with(wanted), "{all}");
    for title in ["4 Flows: 1 within", "5 Findings: 0 open", "6 Changes: last 1", "? help  / filter"] {
        assert!(all.contains(title), "{title}: {all}");
    }
    for (pane, words) in [
        ("1", ["eth0", "native"]),
        ("2", ["web", "packet_rate"]),
        ("4", ["10.0.0.5", "backup.service"]),
        ("5", ["port_scan", "57 ports"]),
        ("6", ["uid 1000", "limit web"]),
    ] {
        press(&mut view, pane);
        let all = text(&mut view);
        for word in words {
            assert!(all.contains(word), "{word}: {all}");
        }
    }
}

#[test]
fn any_size_is_painted_and_no_address_is_broken() {
    for (width, height) in [(80, 24), (200, 60), (60, 20), (40, 10), (20, 4), (1, 1), (132, 3)] {
        let mut view = view();
        for keys in ["", "?", "\x1b1", "2", "4", "5", "6", "3b", "\n\n"] {
            press(&mut view, keys);
            let (all, _) = shown(&mut view, width, height);
            assert!(
                width < 60 || height < 20 || keys != "\n\n" || all.contains("2001:db8:1234:5678::/64"),
                "{all}"
            );
        }
    }
}

#[test]
fn without_colour_there_is_none_and_in_ascii_nothing_else() {
    let mut plain = view();
    press(&mut plain, "j");
    let (_, terminal) = shown(&mut plain, 80, 24);
    let colored = |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
    assert!(!terminal.backend().buffer().content.iter().any(colored));
    let mut ascii = View::new(Theme { color: true, unicode: false });
    ascii.take(Event::Answers(Ok(Box::new(answers()))));
    let (all, terminal) = shown(&mut ascii, 120, 40);
    assert!(all.is_ascii(), "{all}");
    assert!(terminal.backend().buffer().content.iter().any(colored));
}

#[test]
fn rows_are_filtered_sorted_and_kept_while_answers_change() {
    let mut view = view();
    press(&mut view, "/2001\n");
    let all = text(&mut view);
    assert!(all.contains("[filter: 2001]") && !all.contains("198.51.100.9"), "{all}");
    press(&mut view, "\x1b");
    assert!(text(&mut view).contains("198.51.100.9"));
    // The third column, then the other way round: the lightest first.
    press(&mut view, "sssr");
    let all = text(&mut view);
    assert!(all.contains("PACKETS/S▲") && all.find("2001:") < all.find("198.51"), "{all}");
    let step = press(&mut view, "ss");
    assert!(format!("{:?}", step.wanted).contains("Drops"), "{:?}", step.wanted);
    // The selected row stays selected when its place changes.
    press(&mut view, "Gsssss");
    let rows = view.rows(view.focus);
    let selected = rows[view.selected(view.focus, &rows).unwrap()].key.clone();
    let mut newer = answers();
    newer.sources.sources.reverse();
    view.take(Event::Answers(Ok(Box::new(newer))));
    let rows = view.rows(view.focus);
    assert_eq!(rows[view.selected(view.focus, &rows).unwrap()].key, selected);
}

#[test]
fn while_it_is_paused_nothing_moves() {
    let mut view = view();
    press(&mut view, "p");
    let mut newer = answers();
    newer.sources.sources.clear();
    view.take(Event::Answers(Ok(Box::new(newer))));
    let all = text(&mut view);
    assert!(all.contains("PAUSED") && all.contains("198.51.100.9"), "{all}");
}

#[test]
fn a_change_is_made_after_a_yes_and_never_before() {
    let mut view = view();
    let step = press(&mut view, "b\nflood\n");
    assert!(step.wanted.is_empty());
    let all = text(&mut view);
    assert!(all.contains("ban 198.51.100.9, for: 10m, why: flood? y/n"), "{all}");
    assert!(press(&mut view, "n").wanted.is_empty());
    assert!(text(&mut view).contains("nothing was done"));
    let mut step = press(&mut view, "b\n\ny");
    let Some(Wanted::Change(form, options)) = step.wanted.pop() else { panic!("{step:?}") };
    assert_eq!(options, ChangeOptions::default());
    // What is dangerous is asked once more.
    let danger = Failure::new(Exit::NeedsConfirmation, "198.51.100.9 is your own address");
    view.take(Event::Changed(Err(danger), form.clone()));
    assert!(text(&mut view).contains("your own address do it all the same? y/n"));
    let mut step = press(&mut view, "y");
    let Some(Wanted::Change(_, options)) = step.wanted.pop() else { panic!("{step:?}") };
    assert!(options.yes);
    let applied = Applied { change: Some(9), summary: vec!["+ ban 198.51.100.9".to_owned()], ..Applied::default() };
    view.take(Event::Changed(Ok(applied), form));
    assert!(text(&mut view).contains("+ ban 198.51.100.9: change 9"));
}

#[test]
fn a_row_opens_as_a_page_and_a_daemon_that_is_gone_is_said() {
    let mut view = view();
    let step = press(&mut view, "4\n");
    assert!(format!("{:?}", step.wanted).contains("far: false"), "{:?}", step.wanted);
    let lines: String = (0..100).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
    view.take(Event::Detail(Ok(lines)));
    assert!(text(&mut view).contains("line 0\n"));
    press(&mut view, "G");
    assert!(text(&mut view).contains("line 99\n"));
    let step = press(&mut view, "o");
    assert!(format!("{:?}", step.wanted).contains("far: true"), "{:?}", step.wanted);
    press(&mut view, "q");
    view.take(Event::Answers(Err(Failure::new(Exit::NotRunning, "the daemon does not answer"))));
    let all = text(&mut view);
    assert!(all.contains("the daemon does not answer") && all.contains("10.0.0.5"), "{all}");
    assert!(press(&mut view, "q").quit);
}
