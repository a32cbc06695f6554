use super::super::wit::RawColumn;
use super::*;
use crate::record::{Origin, RowRef};
use std::time::Duration;

fn limits() -> Limits {
    Limits { memory: 1 << 20, fuel: 1, deadline: Duration::from_secs(1), output_bytes: 1 << 20, output_records: 100 }
}

fn input() -> Batch {
    let mut batch = Batch::default();
    for i in 0..5i64 {
        let value = [b'a' + i as u8];
        batch.push(RowRef {
            key: (i != 2).then_some(&b"k"[..]),
            value: Some(&value),
            timestamp: 10 + i,
            origin: Origin { split: 1, offset: i },
        });
    }
    batch
}

fn raw(parents: &[u32]) -> RawOutput {
    RawOutput { parents: parents.to_vec(), ports: vec![], keys: None, values: None, timestamps: None, headers: None, rejects: vec![] }
}

fn texts(texts: &[&str]) -> Option<RawColumn> {
    let mut offsets = vec![0];
    offsets.extend(texts.iter().scan(0, |end, t| {
        *end += t.len() as u32;
        Some(*end)
    }));
    Some(RawColumn { offsets, data: texts.concat().into_bytes(), validity: vec![] })
}

fn values(batch: &Batch) -> Vec<&[u8]> {
    (0..batch.len()).map(|i| batch.values.bytes(i)).collect()
}

#[test]
fn what_the_guest_leaves_out_is_the_parents() {
    let mut ports = vec![Batch::default()];
    for parents in [&[0, 1, 2, 3, 4][..], &[4, 2, 2], &[]] {
        assemble(raw(parents), &input(), &limits(), &[], &mut ports).unwrap();
        let expected: Vec<_> = parents.iter().map(|p| input().row(*p as usize).timestamp).collect();
        assert_eq!(ports[0].timestamps, expected);
        for (i, p) in parents.iter().enumerate() {
            assert_eq!(ports[0].row(i), input().row(*p as usize));
        }
    }
}

#[test]
fn records_go_to_their_ports_in_order() {
    let mut ports = vec![Batch::default(); 3];
    let answer = RawOutput { ports: vec![2, 0, 2, 1], values: texts(&["w", "x", "y", "z"]), ..raw(&[0, 0, 1, 4]) };
    assemble(answer, &input(), &limits(), &[], &mut ports).unwrap();
    assert_eq!(values(&ports[0]), [b"x"]);
    assert_eq!(values(&ports[1]), [b"z"]);
    assert_eq!(values(&ports[2]), [b"w", b"y"]);
    assert_eq!(ports[2].row(1).origin, Origin { split: 1, offset: 1 });
    assemble(raw(&[0]), &input(), &limits(), &[], &mut ports).unwrap();
    assert_eq!(ports.iter().map(Batch::len).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn a_broken_answer_is_refused_by_column_and_index() {
    let mut ports = vec![Batch::default()];
    let reject = |position| vec![Reject { position, reason: "no".into() }];
    for (answer, message) in [
        (raw(&[0, 5]), "parents[1] is 5, the batch has 5 records"),
        (RawOutput { ports: vec![0], ..raw(&[0, 1]) }, "ports has 1 entries for 2 output records"),
        (RawOutput { ports: vec![0, 1], ..raw(&[0, 1]) }, "ports[1] is 1, but 0 ports are declared"),
        (RawOutput { timestamps: Some(vec![]), ..raw(&[0]) }, "timestamps has 0 entries for 1 output records"),
        (RawOutput { values: texts(&["a"]), ..raw(&[0, 1]) }, "values: 2 offsets where 3 are needed (one more than entries)"),
        (RawOutput { rejects: [reject(1), reject(1)].concat(), ..raw(&[]) }, "rejects[1] names position 1 again"),
        (RawOutput { rejects: reject(5), ..raw(&[]) }, "rejects[0] names position 5, the batch has 5 records"),
        (raw(&[0; 101]), "101 output records for one call; the limit is 100"),
    ] {
        let error = assemble(answer, &input(), &limits(), &[], &mut ports).unwrap_err();
        assert_eq!(error.to_string(), format!("returned malformed output: {message}"));
    }
}

#[test]
fn a_state_changed_twice_or_unknown_is_refused() {
    let change = |state, groups: &[u32]| super::super::wit::StateChange {
        state,
        groups: groups.to_vec(),
        values: texts(&vec!["v"; groups.len()]).unwrap(),
    };
    let mut seen = vec![];
    assert!(check_change(change(0, &[1, 0]), 1, 2, &mut seen).is_ok());
    for (change, message) in [
        (change(1, &[0]), "changes: state 1 was not declared (1 value states are)"),
        (change(0, &[0, 0]), "changes of state 0: group 0 is changed twice"),
        (change(0, &[0, 2]), "changes of state 0: groups[1] is 2, the batch has 2 keys"),
    ] {
        assert_eq!(check_change(change, 1, 2, &mut seen).unwrap_err().to_string(), format!("returned malformed output: {message}"));
    }
}

#[test]
fn an_output_that_no_reader_of_its_port_takes_is_its_inputs_fault() {
    let mut ports = vec![Batch::default(); 2];
    let answer = || RawOutput { ports: vec![0, 1, 0], values: texts(&["1234", "1234", "12"]), ..raw(&[0, 1, 3]) };
    let sink = weir_spec::KafkaSink { topic: Some("out".into()), ..to_topics(None) };
    let takes = |bytes| vec![Arc::new(Topics::new(&sink, &[bytes]))];
    // A key of one byte beside each value; the limit of a port is for that port only.
    assert!(assemble(answer(), &input(), &limits(), &[takes(5), takes(5)], &mut ports).is_ok());
    let error = assemble(answer(), &input(), &limits(), &[takes(5), takes(4)], &mut ports).unwrap_err();
    assert!(matches!(&error, CallError::Rejected(Reject { position: 1, .. })), "{error}");
    assert!(assemble(answer(), &input(), &limits(), &[vec![]], &mut ports).is_ok());
}

fn to_topics(topic_from: Option<weir_spec::TopicFrom>) -> weir_spec::KafkaSink {
    let (brokers, delivery, compression, properties) = Default::default();
    weir_spec::KafkaSink { brokers, topic: None, topics: vec![], topic_from, delivery, compression, properties }
}

#[test]
fn an_output_that_names_no_topic_of_its_sink_is_its_inputs_fault() {
    let mut ports = vec![Batch::default(); 2];
    let answer = || RawOutput { ports: vec![0, 1, 0], values: texts(&[r#"{"to":"a"}"#, r#"{"to":"b"}"#, "12"]), ..raw(&[0, 1, 3]) };
    let from = weir_spec::TopicFrom::Json("to".into());
    let sink = weir_spec::KafkaSink { topics: vec!["a".into(), "b".into()], ..to_topics(Some(from)) };
    let chosen = vec![Arc::new(Topics::new(&sink, &[1000, 1000]))];
    let error = assemble(answer(), &input(), &limits(), &[chosen.clone(), vec![]], &mut ports).unwrap_err();
    assert!(matches!(&error, CallError::Rejected(Reject { position: 3, reason }) if reason.contains("no topic is named")), "{error}");
    assert!(assemble(answer(), &input(), &limits(), &[vec![], chosen], &mut ports).is_ok(), "port 1 has good ones only");
}
