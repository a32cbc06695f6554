//! State of a processor: what records of a batch see of each other, what comes back, and what a reject undoes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde::{Deserialize, Serialize};
use weir_sdk::bindings::Fault;
use weir_sdk::processor::{Context, Declare, Input, Processor, Record};
use weir_sdk::testing::{ProcessorTest, Row};
use weir_sdk::{Error, MapState, Raw, Result, Text, ValueState};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profile {
    visits: u32,
    names: Vec<String>,
}

/// Commands `state verb argument`.
struct Notebook {
    left: Input,
    text: ValueState<String, Raw>,
    profile: ValueState<Profile>,
    pages: MapState<i64, String>,
}

impl Processor for Notebook {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self {
            left: declare.input("left"),
            text: declare.value_state("text", 1),
            profile: declare.value_state("profile", 1),
            pages: declare.map_state("pages", 1),
        })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        for command in record.text()?.split(';') {
            let mut words = command.splitn(3, ' ');
            let (state, verb, argument) = (words.next(), words.next(), words.next().unwrap_or_default());
            match (state, verb) {
                (Some("text"), Some("put")) => cx.put(self.text, &argument.to_owned()),
                (Some("text"), Some("delete")) => cx.delete(self.text),
                (Some("text"), Some("get")) => {
                    let text = cx.get(self.text)?;
                    cx.emit(Text(format_args!("{text:?}")));
                }
                (Some("visit"), _) => {
                    let mut profile = cx.get(self.profile)?.unwrap_or_default();
                    profile.visits += 1;
                    profile.names.push(verb.unwrap_or_default().to_owned());
                    cx.put(self.profile, &profile);
                }
                (Some("page"), Some("all")) => {
                    let pages = cx.map(self.pages).scan(None, 2)?;
                    cx.emit(Text(format_args!("{pages:?}")));
                }
                (Some("page"), Some("clear")) => cx.map(self.pages).clear(),
                (Some("page"), Some(number)) => {
                    let number: i64 = number.parse()?;
                    if argument.is_empty() {
                        cx.map(self.pages).remove(&number);
                    } else {
                        cx.map(self.pages).put(&number, &argument.to_owned());
                    }
                }
                (Some("side"), _) => cx.emit(if record.input == self.left { "left" } else { "right" }),
                (Some("reject"), _) => return Err(Error::reject("told to")),
                _ => return Err(Error::failed("unknown command")),
            }
        }
        Ok(())
    }
}

fn test() -> ProcessorTest<Notebook> {
    ProcessorTest::new("{}").unwrap()
}

fn run(test: &mut ProcessorTest<Notebook>, commands: &[(&str, &str)]) -> Vec<String> {
    let rows: Vec<Row> = commands.iter().map(|(key, value)| Row::keyed(key, value)).collect();
    test.batch(0, &rows).unwrap().texts()
}

#[test]
fn a_record_sees_what_earlier_ones_of_its_key_put_and_no_others() {
    let mut test = test();
    let outputs = run(&mut test, &[("a", "text put x"), ("b", "text get"), ("a", "text get"), ("a", "text delete"), ("a", "text get")]);
    assert_eq!(outputs, ["None", "Some(\"x\")", "None"]);
}

#[test]
fn values_may_grow_and_shrink_within_a_batch() {
    let mut test = test();
    let values = ["1", "22", "", "333333333", "4444", "55555555555555555555"];
    let commands: Vec<String> = values.iter().map(|value| format!("text put {value};text get")).collect();
    let rows: Vec<(&str, &str)> = commands.iter().flat_map(|command| [("a", command.as_str()), ("b", command.as_str())]).collect();
    let expected: Vec<String> = values.iter().flat_map(|value| [format!("Some({value:?})"), format!("Some({value:?})")]).collect();
    assert_eq!(run(&mut test, &rows), expected);
    let text = test.function().text;
    assert_eq!(test.value(text, "a").unwrap().as_deref(), Some("55555555555555555555"));
    assert_eq!(test.value(text, "b").unwrap().as_deref(), Some("55555555555555555555"));
}

#[test]
fn a_reject_restores_every_value_its_record_changed() {
    for rejected in ["text put y", "text put longer", "text put", "text delete", "text put y;text delete;text put longest;text put z"] {
        let mut test = test();
        let rejected = format!("{rejected};reject");
        let outputs = run(&mut test, &[("a", "text put old"), ("a", &rejected), ("a", "text get"), ("b", &rejected), ("b", "text get")]);
        assert_eq!(outputs, ["Some(\"old\")", "None"], "{rejected}");
        assert_eq!(run(&mut test, &[("a", &rejected), ("a", "text get")]), ["Some(\"old\")"], "{rejected}");
        let text = test.function().text;
        assert_eq!(test.value(text, "a").unwrap().as_deref(), Some("old"));
        assert_eq!(test.value(text, "b").unwrap(), None);
    }
}

#[test]
fn states_of_serde_types_are_kept_across_batches() {
    let mut test = test();
    run(&mut test, &[("a", "visit x"), ("a", "visit y")]);
    run(&mut test, &[("a", "visit z")]);
    let profile = test.function().profile;
    let expected = Profile { visits: 3, names: ["x", "y", "z"].map(str::to_owned).to_vec() };
    assert_eq!(test.value(profile, "a").unwrap(), Some(expected));
}

#[test]
fn a_deleted_value_is_gone_in_the_next_batch() {
    let mut test = test();
    run(&mut test, &[("a", "text put x")]);
    run(&mut test, &[("a", "text delete")]);
    assert_eq!(run(&mut test, &[("a", "text get")]), ["None"]);
}

#[test]
fn maps_are_scanned_in_the_order_of_their_keys() {
    let mut test = test();
    run(&mut test, &[("a", "page 300 x"), ("a", "page -2 y"), ("a", "page 5 z"), ("b", "page 1 other")]);
    assert_eq!(run(&mut test, &[("a", "page all")]), ["[(-2, \"y\"), (5, \"z\")]"]);
    let pages = test.function().pages;
    assert_eq!(test.map(pages, "a").unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [-2, 5, 300]);
}

#[test]
fn a_reject_undoes_puts_removals_and_clearing_of_maps() {
    let mut test = test();
    run(&mut test, &[("a", "page 1 one"), ("a", "page 2 two")]);
    for rejected in ["page 1 changed", "page 1", "page clear", "page 3 x;page clear;page 1 y", "page clear;page clear;page 9 z"] {
        let rejected = format!("{rejected};reject");
        let outputs = run(&mut test, &[("a", "page 2 zwei"), ("a", &rejected), ("a", "page all"), ("a", "page 2 two")]);
        assert_eq!(outputs, ["[(1, \"one\"), (2, \"zwei\")]"], "{rejected}");
        let pages = test.function().pages;
        assert_eq!(test.map(pages, "a").unwrap(), [(1, "one".to_owned()), (2, "two".to_owned())], "{rejected}");
    }
}

#[test]
fn a_cleared_map_holds_only_what_was_put_after() {
    let mut test = test();
    run(&mut test, &[("a", "page 1 one"), ("b", "page 1 one")]);
    let outputs = run(&mut test, &[("a", "page 2 two;page clear;page 3 three;page all"), ("b", "page all")]);
    assert_eq!(outputs, ["[(3, \"three\")]", "[(1, \"one\")]"]);
    let pages = test.function().pages;
    assert_eq!(test.map(pages, "a").unwrap(), [(3, "three".to_owned())]);
}

#[test]
fn a_failed_call_changes_neither_values_nor_maps() {
    let mut test = test();
    let rows = ["text put x", "page 1 one", "nonsense"].map(|command| Row::keyed("a", command));
    assert_eq!(test.batch(0, &rows), Err(Fault::Failed("unknown command".to_owned())));
    assert_eq!(run(&mut test, &[("a", "text get;page all")]), ["None", "[]"]);
}

#[test]
fn inputs_are_told_apart() {
    let mut test = test();
    assert_eq!(test.batch(0, &[Row::keyed("a", "side")]).unwrap().texts(), ["left"]);
    assert_eq!(test.batch(1, &[Row::keyed("a", "side")]).unwrap().texts(), ["right"]);
}

#[test]
fn a_record_without_a_key_is_rejected_in_its_place() {
    let rows = [Row::keyed("a", "text get"), Row::value("text get"), Row::keyed("a", "reject"), Row::keyed("b", "side")];
    let batch = test().batch(0, &rows).unwrap();
    assert_eq!(batch.rejects, [(1, "the record has no key".to_owned()), (2, "told to".to_owned())]);
    assert_eq!(batch.outputs.iter().map(|output| output.parent).collect::<Vec<_>>(), [0, 3]);
}
