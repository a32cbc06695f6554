//! Payments by card, as JSON: raises an alert when a card pays too often within a time, or far more than it used to.
//!
//! Configuration: more than `payments` payments within `withinMs` of event time are too many; an amount over `jump` times
//! the average of the card's earlier payments, of which there have to be three, is too large. Alerts are JSON, one for
//! each rule that a payment breaks, and say how often the card had paid at this merchant before.
//!
//! Payments may come out of order: each counts at its own time. One that is `withinMs` or more older than the newest of its
//! card is too late for the first rule. Per card the times of twice `withinMs` are kept, a thousand at most.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use weir_sdk::processor::{Context, Declare, Prefetch, Processor, Record};
use weir_sdk::{Error, Json, MapState, Result, ValueState, config};

/// As many earlier payments make an average.
const ENOUGH: u64 = 3;
/// Most times kept of a card.
const MOST_TIMES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    payments: usize,
    within_ms: i64,
    jump: u64,
}

#[derive(Deserialize)]
struct Payment<'a> {
    #[serde(borrow)]
    merchant: Cow<'a, str>,
    cents: u64,
}

/// What leaves. The card is the record's key.
#[derive(Serialize)]
struct Alert<'a> {
    rule: &'static str,
    merchant: &'a str,
    cents: u64,
    before: u64,
}

/// How many payments, and what they sum up to.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Spent {
    payments: u64,
    cents: u128,
}

/// The function.
pub struct FraudVelocity {
    config: Config,
    /// Event times of the newest payments, rising.
    recent: ValueState<Vec<i64>>,
    spent: ValueState<Spent>,
    /// Payments by merchant.
    merchants: MapState<String, u64>,
}

impl Processor for FraudVelocity {
    fn init(declare: &mut Declare, json: &str) -> Result<Self> {
        let config: Config = config(json)?;
        if config.within_ms <= 0 || !(1..MOST_TIMES).contains(&config.payments) {
            return Err(Error::fatal("config: withinMs must be positive, and payments from 1 to 999"));
        }
        let (recent, spent) = (declare.value_state("recent", 1), declare.value_state("spent", 1));
        Ok(Self { config, recent, spent, merchants: declare.map_state("merchants", 1) })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let payment: Payment<'_> = record.json()?;
        let before = cx.map(self.merchants).get(&*payment.merchant)?.unwrap_or(0);
        cx.map(self.merchants).put(&*payment.merchant, &(before + 1));

        let mut recent = cx.get(self.recent)?.unwrap_or_default();
        let too_many = self.is_too_many(&mut recent, record.timestamp);
        cx.put(self.recent, &recent);

        let spent = cx.get(self.spent)?.unwrap_or_default();
        let (cents, payments) = (u128::from(payment.cents), u128::from(spent.payments));
        let too_much = spent.payments >= ENOUGH && cents * payments > spent.cents * u128::from(self.config.jump);
        cx.put(self.spent, &Spent { payments: spent.payments + 1, cents: spent.cents + cents });

        for (broken, rule) in [(too_many, "velocity"), (too_much, "jump")] {
            if broken {
                cx.emit(Json(Alert { rule, merchant: &payment.merchant, cents: payment.cents, before }));
            }
        }
        Ok(())
    }

    fn prefetch(&self, record: &Record<'_>, wanted: &mut Prefetch<'_>) {
        if let Ok(payment) = record.json::<Payment<'_>>() {
            wanted.map(self.merchants, &*payment.merchant);
        }
    }
}

impl FraudVelocity {
    /// Adds a time to the card's newest ones, and tells whether it is one of too many within the configured time.
    fn is_too_many(&self, recent: &mut Vec<i64>, time: i64) -> bool {
        let Config { payments, within_ms, .. } = self.config;
        recent.insert(recent.partition_point(|at| *at <= time), time);
        let newest = recent.last().copied().unwrap_or(time);
        let expired = recent.partition_point(|at| *at <= newest.saturating_sub(within_ms.saturating_mul(2)));
        recent.drain(..expired.max(recent.len().saturating_sub(MOST_TIMES)));
        let in_time = time > newest.saturating_sub(within_ms);
        in_time && recent.windows(payments + 1).any(|window| is_within(window, time, within_ms))
    }
}

/// Whether rising times lie within `within_ms` of each other, and `time` among them.
fn is_within(times: &[i64], time: i64, within_ms: i64) -> bool {
    match times {
        [first, .., last] => (*first..=*last).contains(&time) && last.saturating_sub(*first) < within_ms,
        _ => false,
    }
}

weir_sdk::processor!(FraudVelocity);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::FraudVelocity;
    use weir_sdk::testing::{ProcessorTest, Row};

    fn alerts(payments: &[(i64, u64)]) -> Vec<String> {
        let mut test = ProcessorTest::<FraudVelocity>::new(r#"{"payments": 2, "withinMs": 1000, "jump": 10}"#).unwrap();
        let rows = payments.iter().map(|(time, cents)| Row::keyed("card", format!(r#"{{"merchant":"m","cents":{cents}}}"#)).at(*time));
        test.batch(0, &rows.collect::<Vec<_>>()).unwrap().texts().iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn more_payments_than_allowed_within_the_time_raise_an_alert() {
        assert_eq!(alerts(&[(0, 1), (500, 1), (1000, 1), (1400, 1)]), [r#"{"rule":"velocity","merchant":"m","cents":1,"before":3}"#]);
        assert_eq!(alerts(&[(0, 1), (1000, 1), (2000, 1)]), [""; 0]);
    }

    #[test]
    fn a_payment_out_of_order_counts_at_its_own_time() {
        assert_eq!(alerts(&[(1000, 1), (1800, 1), (1500, 1), (1900, 1)]).len(), 2);
        assert_eq!(alerts(&[(9000, 1), (100, 1), (200, 1), (300, 1)]), [""; 0]);
    }

    #[test]
    fn an_amount_far_above_the_average_raises_an_alert_once_there_is_one() {
        assert_eq!(alerts(&[(0, 100), (5000, 9999), (9000, 100)]), [""; 0]);
        let jump = r#"{"rule":"jump","merchant":"m","cents":1001,"before":3}"#;
        assert_eq!(alerts(&[(0, 100), (5000, 100), (9000, 100), (15_000, 1000)]), [""; 0]);
        assert_eq!(alerts(&[(0, 100), (5000, 100), (9000, 100), (15_000, 1001)]), [jump]);
    }
}
