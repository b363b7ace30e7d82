use super::*;

fn now() -> Timestamp {
    "2026-11-22T06:00:00Z".parse().unwrap()
}

fn standing() -> Standing {
    Standing {
        rules: Rules::new(Arc::new(Config::default())),
        bans: BTreeMap::new(),
        containments: BTreeMap::new(),
    }
}

fn config() -> ConfigSetting {
    ConfigSetting { path: None, toml: String::new(), flags: Flags::default() }
}

fn everything() -> Delta {
    let prefix = "192.0.2.0/24".parse().unwrap();
    let ban = Ban { since: now(), until: None, comment: None, made_by: "uid 0".to_owned() };
    let subject = Subject::Workload("copy.service".to_owned());
    let containment = Containment {
        subject: subject.clone(),
        packets: Some(policy::config::Rate::per_second(100)),
        bytes: None,
        mode: Mode::Observe,
        since: now(),
        until: None,
        comment: None,
        made_by: "uid 0".to_owned(),
    };
    Delta {
        limits: vec![LimitSetting {
            name: LimitName {
                service: "default".to_owned(),
                class: None,
                kind: policy::LimitKind::PerSource,
            },
            value: Some(LimitOverride::default()),
            asked: None,
        }],
        access: vec![AccessSetting {
            prefix,
            permission: Permission::Deny,
            entry: Some(AccessEntry {
                prefix,
                permission: Permission::Deny,
                until: None,
                reason: String::new(),
                origin: "uid 0".to_owned(),
            }),
        }],
        bans: vec![BanSetting { source: "198.51.100.7/32".parse().unwrap(), ban: Some(ban) }],
        containments: vec![ContainmentSetting { subject: subject.clone(), containment: Some(containment) }],
        config: None,
        saved: false,
    }
}

#[test]
fn the_way_back_leads_back() {
    let (start, delta) = (standing(), everything());
    let back = delta.before(&start, &config());
    let changed = delta.applied(&start, now()).unwrap();
    assert_ne!(changed, start);
    assert_eq!(back.applied(&changed, now()).unwrap(), start);
    assert_eq!(delta.before(&changed, &config()), delta);
}

#[test]
fn what_is_over_is_taken_out_and_named() {
    let mut delta = everything();
    let later = now() + std::time::Duration::from_mins(1);
    delta.bans[0].ban.as_mut().unwrap().until = Some(later);
    delta.access[0].entry.as_mut().unwrap().until = Some(later);
    let mut standing = delta.applied(&standing(), now()).unwrap();
    assert_eq!(standing.expire(now()), Vec::<String>::new());
    assert_eq!(standing.expire(later), ["Deny 192.0.2.0/24", "ban of 198.51.100.7/32"]);
    assert_eq!((standing.bans.len(), standing.containments.len()), (0, 1));
}

#[test]
fn a_delta_survives_the_store() {
    let text = serde_json::to_string(&everything()).unwrap();
    assert_eq!(serde_json::from_str::<Delta>(&text).unwrap(), everything());
}

#[test]
fn what_ended_meanwhile_does_not_come_back() {
    let mut delta = everything();
    delta.bans[0].ban.as_mut().unwrap().until = Some(now());
    delta.access[0].entry.as_mut().unwrap().until = Some(now());
    delta.containments[0].containment.as_mut().unwrap().until = Some(now());
    let changed = delta.applied(&standing(), now()).unwrap();
    assert!(changed.bans.is_empty() && changed.rules.access.is_empty());
    assert!(changed.containments.is_empty());
}

#[test]
fn bans_and_containments_are_told_in_words() {
    let changed = everything().applied(&standing(), now()).unwrap();
    let told = "+ contain copy.service: packets 100/s, only observed, until it is lifted";
    assert!(differences(&standing(), &changed).contains(&told.to_owned()));
    assert!(differences(&changed, &standing()).contains(&"- contain copy.service".to_owned()));
    assert!(differences(&standing(), &changed).contains(&"+ ban 198.51.100.7/32: for ever".to_owned()));
    assert!(differences(&changed, &standing()).contains(&"- ban 198.51.100.7/32".to_owned()));
}

#[test]
fn a_wrong_configuration_applies_nothing() {
    let config = ConfigSetting {
        path: Some("x.toml".to_owned()),
        toml: "nonsense = 1".to_owned(),
        flags: Flags::default(),
    };
    let delta = Delta { config: Some(config), ..Delta::default() };
    assert!(delta.applied(&standing(), now()).is_err());
}

#[test]
fn a_list_is_written_once_with_what_its_entries_share() {
    let entry = |n: u8, reason: &str| {
        let prefix = format!("198.51.100.{n}/32").parse().unwrap();
        let (permission, until) = (Permission::Deny, None);
        let (reason, origin) = (reason.to_owned(), "uid 0".to_owned());
        let entry = Some(AccessEntry { prefix, permission, until, reason, origin });
        AccessSetting { prefix, permission, entry }
    };
    let mut access: Vec<_> = (0..100).map(|n| entry(n, "imported from list.txt")).collect();
    access.push(entry(200, "another"));
    access.push(AccessSetting { entry: None, ..entry(201, "") });
    let delta = Delta { access, ..Delta::default() };
    let text = serde_json::to_string(&delta).unwrap();
    assert_eq!(text.matches("imported from").count(), 1, "{text}");
    assert_eq!(serde_json::from_str::<Delta>(&text).unwrap(), delta);
    // As versions before wrote it.
    let single = serde_json::json!({ "access": [serde_json::to_value(&delta.access[0]).unwrap()] });
    let read: Delta = serde_json::from_value(single).unwrap();
    assert_eq!(read.access, delta.access[..1]);
}
