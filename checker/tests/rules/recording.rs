//! Recordings: what is written is read, and what is no recording is refused.

use annulus_causality::VersionVector;
use annulus_checker::json_lines::{FORMAT_VERSION, ReadError, Writer, read};
use annulus_checker::{
    Deleted, Found, History, HistoryError, Outcome, Record, Report, Rule, Tolerance, Written,
    check_all, minted_dot,
};

use crate::epochs_and_moves::{nodes, placement_of};
use crate::scenario::{FAULTY, clock, delete, dot, get, held_by_all, history, put, records};

fn sample() -> Vec<Record> {
    let mut records = records![
        put(1, 0, &[], dot(1, 1)).ttl_ms(5),
        put(2, 5, &[dot(1, 1)], dot(2, 1))
            .unknown()
            .retried(20, dot(2, 1)),
        delete(3, 100, &[dot(2, 1)], dot(3, 1)).without_request(),
        get(4, 200, &[(2, dot(2, 1))], &[dot(2, 1)])
            .min_context(&[dot(1, 1)])
            .r_w(1, 3),
        get(5, 200, &[], &[]).lww(0).rejected(),
    ];
    records.extend(held_by_all(&[(0, dot(3, 1))], &[dot(2, 1), dot(3, 1)]));
    records.push(Record::Placement(Box::new(
        (&placement_of(&nodes(3))).into(),
    )));
    records
}

fn written(records: &[Record]) -> String {
    let mut writer = Writer::new(Vec::new()).expect("memory takes it");
    for record in records {
        writer.write(record).expect("memory takes it");
    }
    String::from_utf8(writer.finish().expect("memory takes it")).expect("JSON is text")
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let text = written(&sample());
    assert_eq!(text.lines().count(), 1 + sample().len());
    assert_eq!(read(text.as_bytes()).unwrap(), sample());
}

#[test]
fn the_form_stays_readable() {
    let text = concat!(
        r#"{"annulus_history":1}"#,
        "\n\n",
        r#"{"operation":{"id":1,"client":1,"session":1,"key":{"keyspace":"kv","key":"k"},"#,
        r#""policy":"siblings","kind":{"put":{"value":"v1"}},"consistency":{"n":3,"r":2,"w":2},"#,
        r#""request":{"client":1,"sequence":1},"attempts":[{"invoked_at_us":0,"#,
        r#""completed_at_us":10000,"outcome":{"written":{"context":{"0000000000000001.1":1},"#,
        r#""dot":"0000000000000001.1:1"}}}]}}"#,
        "\n",
    );
    let expected = records![put(1, 0, &[], dot(1, 1))];
    assert_eq!(read(text.as_bytes()).unwrap(), expected);
}

#[test]
fn malformed_lines_are_refused_with_their_number() {
    let text = written(&sample());
    let good: Vec<&str> = text.lines().collect();
    let spoil = |from: &str, to: &str| good.join("\n").replacen(from, to, 1);
    let no_actor = (r#""dot":"0000000000000001.1:1""#, r#""dot":"1.1:1""#);
    let no_counter = (
        r#""dot":"0000000000000001.1:1""#,
        r#""dot":"0000000000000001.1:0""#,
    );
    let strange = (r#""policy""#, r#""unheard":1,"policy""#);
    let cut = (r#""session":1,"#, r#""session":"#);
    for (from, to) in [no_actor, no_counter, strange, cut] {
        match read(spoil(from, to).as_bytes()) {
            Err(ReadError::Malformed { line: 2, .. }) => {}
            other => panic!("{from} as {to}: {other:?}"),
        }
    }
    let torn = &text[..text.len() - 5];
    let last = good.len();
    assert!(
        matches!(read(torn.as_bytes()), Err(ReadError::Malformed { line, .. }) if line == last)
    );
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let newer = format!("{{\"annulus_history\":{}}}\n", FORMAT_VERSION + 1);
    assert!(matches!(
        read(newer.as_bytes()),
        Err(ReadError::Version { found: 2 })
    ));
    for other in ["", "{}\n", "hello\n"] {
        assert!(matches!(read(other.as_bytes()), Err(ReadError::NoHeader)));
    }
}

#[test]
fn records_that_contradict_each_other_are_no_history() {
    let refused = |records| History::new(records, Tolerance::default()).unwrap_err();
    let one = || put(1, 0, &[], dot(1, 1));
    let doubled = refused(records![one(), one()]);
    assert!(
        matches!(doubled, HistoryError::DuplicateOperation(_)),
        "{doubled}"
    );
    let Record::Operation(mut same) = Record::from(put(2, 0, &[], dot(1, 2))) else {
        unreachable!("it is an operation");
    };
    let Record::Operation(first) = Record::from(one()) else {
        unreachable!("it is an operation");
    };
    same.request = first.request;
    let request = refused(vec![one().into(), Record::Operation(same.clone())]);
    assert!(
        matches!(request, HistoryError::DuplicateRequest { .. }),
        "{request}"
    );
    (same.request, same.kind) = (None, first.kind);
    let value = refused(vec![one().into(), Record::Operation(same)]);
    assert!(
        matches!(value, HistoryError::DuplicateValue { .. }),
        "{value}"
    );
    let answer = refused(records![one().outcome(Outcome::Found(Found::default()))]);
    assert!(matches!(answer, HistoryError::Malformed { .. }), "{answer}");
}

#[test]
fn dots_follow_from_contexts() {
    let sent = clock(&[dot(1, 1)]);
    let returned = clock(&[dot(1, 1), dot(2, 4)]);
    assert_eq!(minted_dot(Some(&sent), &returned), Some(dot(2, 4)));
    assert_eq!(minted_dot(Some(&returned), &returned), None);
    assert_eq!(minted_dot(None, &returned), None);
    assert_eq!(
        Written::new(Some(&sent), returned, None).dot,
        Some(dot(2, 4))
    );
    let nothing = Deleted::new(None, clock(&[dot(1, 1)]), false);
    assert_eq!(nothing.dot, None);
    let found = Found::new([(&b"v1"[..], sent.clone())], VersionVector::new(), None);
    assert_eq!(found.values[0].dot, Some(dot(1, 1)));
}

#[test]
fn the_report_names_rule_operations_and_counts() {
    let records = records![put(1, 0, &[], dot(1, 1)), get(2, 100, &[], &[])];
    let history = history(records, FAULTY);
    let violations = check_all(&history);
    let text = Report::new(&history, &violations).to_string();
    for part in [
        "C5 freshness",
        "put kv/k = v1",
        "get kv/k",
        "1 x C5",
        "dot 0000000000000001.1:1",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(
        violations
            .iter()
            .all(|violation| violation.rule == Rule::Freshness)
    );
    let clean = history_of_nothing();
    assert!(
        Report::new(&clean, &[])
            .to_string()
            .contains("no violation")
    );
}

fn history_of_nothing() -> History {
    history(Vec::new(), FAULTY)
}
