//! Outputs of a transform: what they take from their parent, what they set, and what a reject undoes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde::{Deserialize, Serialize};
use weir_sdk::bindings::Fault;
use weir_sdk::testing::{Outputs, Row, TransformTest};
use weir_sdk::transform::{Context, Declare, Record, Transform};
use weir_sdk::{Counter, Error, Gauge, Histogram, Json, Level, Port, Result, Text};

struct Commands {
    late: Port,
    seen: Counter,
    last: Gauge,
    sizes: Histogram,
}

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    item: &'a str,
    count: u32,
}

#[derive(Serialize)]
struct Line {
    total: u32,
}

struct Unserialisable;

impl Serialize for Unserialisable {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no such JSON"))
    }
}

impl Transform for Commands {
    fn init(declare: &mut Declare, config: &str) -> Result<Self> {
        if config == "refuse" {
            return Err(Error::fatal("refused"));
        }
        Ok(Self {
            late: declare.port("late"),
            seen: declare.counter("seen"),
            last: declare.gauge("last"),
            sizes: declare.histogram("sizes", &[1.0, 10.0]),
        })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        cx.add(self.seen, 1);
        cx.set(self.last, record.position() as f64);
        cx.observe(self.sizes, record.value.map_or(0.0, |value| value.len() as f64));
        match record.value {
            None | Some(b"forward") => cx.forward(),
            Some(b"late") => cx.forward_to(self.late),
            Some(b"drop") => {}
            Some(b"twice") => {
                cx.emit("one");
                cx.emit_to(self.late, Text(2));
            }
            Some(b"all") => cx.output().key("k2").value("v2").timestamp(99).header("h", Some(b"1")).header("n", None).send(),
            Some(b"bare") => cx.output().no_key().tombstone().no_headers().send(),
            Some(b"unsent") => drop(cx.output().key("x").value("y").timestamp(1).header("z", None)),
            Some(b"reset") => cx.output().key("x").key("kept").value("y").value("kept").timestamp(1).timestamp(2).send(),
            Some(b"reject") => {
                cx.emit("undone");
                cx.output().no_key().timestamp(5).header("undone", None).port(self.late).send();
                return Err(Error::reject("told to"));
            }
            Some(b"unserialisable") => cx.emit(Json(Unserialisable)),
            Some(b"both") => {
                cx.emit(Json(Unserialisable));
                return Err(Error::reject("told to"));
            }
            Some(b"fatal") => return Err(Error::fatal("told to")),
            Some(b"retry") => return Err(Error::retry("told to")),
            Some(b"headers") => {
                let names: Vec<&str> = record.headers().map(|(name, _)| name).collect();
                cx.emit(names.join(","));
            }
            Some(b"origin") => {
                let origin = record.origin().ok_or_else(|| Error::reject("no origin"))?;
                cx.emit(Text(format_args!("{}-{}@{}", origin.topic, origin.partition, origin.offset)));
            }
            Some(b"time") => cx.emit(Text(format_args!("{:?} {}", cx.watermark(), cx.processing_time()))),
            Some(b"log") => cx.log(Level::Warn, "told to"),
            Some(_) => {
                let order: Order<'_> = record.json()?;
                cx.emit(Json(Line { total: order.count + order.item.len() as u32 }));
            }
        }
        Ok(())
    }
}

fn test() -> TransformTest<Commands> {
    TransformTest::new("{}").unwrap()
}

fn row(value: &str) -> Row {
    Row::keyed("k", value).at(7).header("from", "parent")
}

fn run(values: &[&str]) -> Outputs {
    test().batch(&values.iter().map(|value| row(value)).collect::<Vec<_>>()).unwrap()
}

#[test]
fn an_output_has_what_it_does_not_set_from_its_parent() {
    let outputs = run(&["forward", "twice", "late"]).outputs;
    assert_eq!(outputs[0].row, row("forward"));
    assert_eq!(outputs[1].row, row("one"));
    assert_eq!(outputs[2].row, row("2"));
    assert_eq!(outputs[3].row, row("late"));
    assert_eq!(outputs.iter().map(|output| output.parent).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(outputs.iter().map(|output| output.port.as_str()).collect::<Vec<_>>(), ["", "", "late", "late"]);
}

#[test]
fn an_output_that_sets_everything_leaves_its_neighbours_alone() {
    let outputs = run(&["forward", "all", "bare", "forward"]).outputs;
    assert_eq!(outputs[0].row, row("forward"));
    let mut all = Row::keyed("k2", "v2").at(99).header("h", "1");
    all.headers.push(("n".to_owned(), None));
    assert_eq!(outputs[1].row, all);
    assert_eq!(outputs[2].row, Row { timestamp: 7, ..Row::default() });
    assert_eq!(outputs[3].row, row("forward"));
}

#[test]
fn a_record_that_fails_in_two_ways_costs_the_next_one_nothing() {
    let outputs = run(&["both", "forward"]);
    assert_eq!(outputs.rejects, [(0, "told to".to_owned())]);
    assert_eq!(outputs.outputs[0].row, row("forward"));
}

#[test]
fn an_output_that_is_not_sent_leaves_no_trace() {
    let outputs = run(&["unsent", "all", "unsent", "forward"]).outputs;
    assert_eq!(outputs.len(), 2);
    assert_eq!((outputs[0].row.timestamp, outputs[0].row.headers.len()), (99, 2));
    assert_eq!(outputs[1].row, row("forward"));
}

#[test]
fn what_is_set_last_counts() {
    let expected = Row { key: Some(b"kept".to_vec()), ..row("kept").at(2) };
    assert_eq!(run(&["reset"]).outputs[0].row, expected);
}

#[test]
fn a_reject_undoes_the_outputs_of_its_record_only() {
    let batch = run(&["all", "reject", "drop", "twice"]);
    assert_eq!(batch.rejects, [(1, "told to".to_owned())]);
    assert_eq!(batch.texts(), ["v2", "one", "2"]);
    assert_eq!(batch.outputs[1].row, row("one"));
    assert_eq!(batch.outputs.iter().map(|output| output.port.as_str()).collect::<Vec<_>>(), ["", "", "late"]);
}

#[test]
fn a_value_that_cannot_be_written_rejects_its_record() {
    let batch = run(&["unserialisable", "forward"]);
    assert_eq!(batch.rejects, [(0, "no such JSON".to_owned())]);
    assert_eq!(batch.texts(), ["forward"]);
}

#[test]
fn json_comes_in_and_goes_out() {
    let batch = run(&[r#"{"item": "tea", "count": 4}"#, r#"{"item": "tea"}"#]);
    assert_eq!(batch.texts(), [r#"{"total":7}"#]);
    assert_eq!(batch.rejects, [(1, "missing field `count` at line 1 column 15".to_owned())]);
}

#[test]
fn errors_about_the_call_end_it() {
    assert_eq!(test().batch(&[row("forward"), row("fatal")]), Err(Fault::Fatal("told to".to_owned())));
    assert_eq!(test().batch(&[row("retry")]), Err(Fault::Retry("told to".to_owned())));
}

#[test]
fn an_error_of_init_refuses_the_function() {
    assert_eq!(TransformTest::<Commands>::new("refuse").err(), Some(Error::fatal("refused")));
}

#[test]
fn what_is_known_of_the_call_can_be_asked_for() {
    let mut test = test();
    let rows = ["headers", "origin", "time"].map(Row::value);
    assert_eq!(test.batch(&rows).unwrap().texts(), ["", "test-0@1", "None 0"]);
    test.set_watermark(5);
    test.set_processing_time(6);
    let rows = [row("headers").header("second", ""), row("time")];
    assert_eq!(test.batch(&rows).unwrap().texts(), ["from,second", "Some(5) 6"]);
}

#[test]
fn metrics_add_up_over_batches_but_not_those_of_a_failed_call() {
    let mut test = test();
    test.batch(&[row("forward"), row("reject")]).unwrap();
    test.batch(&[row("forward"), row("fatal")]).unwrap_err();
    test.batch(&[row("log")]).unwrap();
    assert_eq!(test.counter("seen"), 3);
    assert_eq!(test.gauge("last"), Some(0.0));
    assert_eq!(test.histogram("sizes"), [7.0, 6.0, 3.0]);
    assert_eq!(test.log(), [(Level::Warn, "told to".to_owned())]);
}
