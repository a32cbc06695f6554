//! Orders of a shop, as JSON: computes the total, names the price class, and sends each to the port of its region.
//!
//! Configuration: `regions`, a map from country code to region, and `largeFrom`, the total in cents from which an order is
//! large. The ports are the regions of the map, in alphabetical order; orders from other countries leave on the main
//! port. An order that is not valid leaves on the port `invalid` as it came, with the reason in the header `reason`.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use weir_sdk::transform::{Context, Declare, Record, Transform};
use weir_sdk::{Json, Port, Result, config};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    regions: BTreeMap<String, String>,
    large_from: u64,
}

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    country: Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: u32,
    cents: u64,
}

/// What leaves.
#[derive(Serialize)]
struct Enriched<'a> {
    id: &'a str,
    country: &'a str,
    region: Option<&'a str>,
    items: u64,
    cents: u64,
    class: &'static str,
}

/// The function.
pub struct EnrichAndBranch {
    config: Config,
    ports: BTreeMap<String, Port>,
    invalid: Port,
}

impl Transform for EnrichAndBranch {
    fn init(declare: &mut Declare, json: &str) -> Result<Self> {
        let config: Config = config(json)?;
        let regions: BTreeSet<&String> = config.regions.values().collect();
        let ports = regions.into_iter().map(|region| (region.clone(), declare.port(region))).collect();
        Ok(Self { config, ports, invalid: declare.port("invalid") })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        match record.json::<Order<'_>>() {
            Ok(order) => match self.enrich(&order) {
                Ok((port, enriched)) => cx.output().port(port).key(enriched.id).value(Json(&enriched)).send(),
                Err(reason) => self.refuse(&reason, cx),
            },
            Err(error) => self.refuse(error.message(), cx),
        }
        Ok(())
    }
}

impl EnrichAndBranch {
    fn enrich<'a>(&'a self, order: &'a Order<'_>) -> Result<(Port, Enriched<'a>), String> {
        if order.id.is_empty() {
            return Err("the order has no id".to_owned());
        }
        let (mut items, mut cents) = (0u64, 0u64);
        for item in &order.items {
            if item.quantity == 0 {
                return Err(format!("no piece of {} is ordered", item.sku));
            }
            let of_item = item.cents.checked_mul(item.quantity.into());
            cents = of_item.and_then(|of_item| cents.checked_add(of_item)).ok_or("the total is too large")?;
            items += u64::from(item.quantity);
        }
        if items == 0 {
            return Err("the order has no items".to_owned());
        }
        let region = self.config.regions.get(&*order.country).map(String::as_str);
        let port = region.and_then(|region| self.ports.get(region)).copied().unwrap_or(Port::MAIN);
        let class = if cents >= self.config.large_from { "large" } else { "small" };
        Ok((port, Enriched { id: &order.id, country: &order.country, region, items, cents, class }))
    }

    fn refuse(&self, reason: &str, cx: &mut Context<'_>) {
        cx.output().port(self.invalid).header("reason", Some(reason.as_bytes())).send();
    }
}

weir_sdk::transform!(EnrichAndBranch);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::EnrichAndBranch;
    use weir_sdk::testing::{Row, TransformTest};

    const CONFIG: &str = r#"{"regions": {"DE": "europe", "FR": "europe", "US": "americas"}, "largeFrom": 10000}"#;

    /// Port, key and value of what comes of one order.
    fn of(order: &str) -> (String, String, String) {
        let mut test = TransformTest::<EnrichAndBranch>::new(CONFIG).unwrap();
        let batch = test.batch(&[Row::keyed("k", order)]).unwrap();
        let output = batch.outputs.first().unwrap();
        (output.port.clone(), output.row.key_text().to_owned(), output.row.value_text().to_owned())
    }

    #[test]
    fn an_order_goes_to_its_region_with_total_and_class() {
        let order = r#"{"id":"o1","country":"DE","items":[{"sku":"a","quantity":2,"cents":4999},{"sku":"b","quantity":1,"cents":2}]}"#;
        let enriched = r#"{"id":"o1","country":"DE","region":"europe","items":3,"cents":10000,"class":"large"}"#;
        assert_eq!(of(order), ("europe".to_owned(), "o1".to_owned(), enriched.to_owned()));
    }

    #[test]
    fn a_country_without_a_region_leaves_on_the_main_port() {
        let order = r#"{"id":"o2","country":"NZ","items":[{"sku":"a","quantity":1,"cents":5}]}"#;
        let enriched = r#"{"id":"o2","country":"NZ","region":null,"items":1,"cents":5,"class":"small"}"#;
        assert_eq!(of(order), (String::new(), "o2".to_owned(), enriched.to_owned()));
    }

    #[test]
    fn what_is_no_order_leaves_as_it_came() {
        for order in ["", "{}", r#"{"id":"o3","country":"DE","items":[]}"#, r#"{"id":"","country":"DE","items":[]}"#] {
            assert_eq!(of(order), ("invalid".to_owned(), "k".to_owned(), order.to_owned()));
        }
    }
}
