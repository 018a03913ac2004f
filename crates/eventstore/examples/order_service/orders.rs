//! Orders: their events, and the decisions about them.

use firefly_eventstore::{Aggregate, DomainEvent, Snapshotted};
use serde::{Deserialize, Serialize};

/// The events of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    #[serde(rename = "order.placed")]
    Placed { customer: String, cents: i64 },
    #[serde(rename = "order.paid")]
    Paid { cents: i64 },
    #[serde(rename = "order.shipped")]
    Shipped,
}

impl DomainEvent for OrderEvent {}

/// The state of an order that its decisions need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    cents: i64,
    paid: i64,
    is_shipped: bool,
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Event = OrderEvent;

    fn evolve(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Placed { cents, .. } => self.cents = cents,
            OrderEvent::Paid { cents } => self.paid += cents,
            OrderEvent::Shipped => self.is_shipped = true,
        }
    }
}

impl Snapshotted for Order {
    const FORM: &'static str = "Order.v1";
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Place { customer: String, cents: i64 },
    Pay { cents: i64 },
    Ship,
}

/// Why a command was refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The command that must come first was not executed yet.
    TooEarly,
    PlacedBefore,
    Overpaid,
    ShippedBefore,
}

impl Order {
    pub(crate) fn decide(&self, wish: &Wish) -> Result<Vec<OrderEvent>, Refusal> {
        let is_placed = self.cents > 0;
        match wish {
            Wish::Place { .. } if is_placed => Err(Refusal::PlacedBefore),
            Wish::Place { customer, cents } => Ok(vec![OrderEvent::Placed {
                customer: customer.clone(),
                cents: *cents,
            }]),
            _ if !is_placed => Err(Refusal::TooEarly),
            Wish::Pay { cents } if self.paid + cents > self.cents => Err(Refusal::Overpaid),
            Wish::Pay { cents } => Ok(vec![OrderEvent::Paid { cents: *cents }]),
            Wish::Ship if self.paid < self.cents => Err(Refusal::TooEarly),
            Wish::Ship if self.is_shipped => Err(Refusal::ShippedBefore),
            Wish::Ship => Ok(vec![OrderEvent::Shipped]),
        }
    }
}

#[cfg(test)]
mod tests {
    use firefly_eventstore::testing::Given;

    use super::*;

    #[test]
    fn an_order_is_shipped_once_it_is_paid() {
        let placed = OrderEvent::Placed {
            customer: "Ada".to_owned(),
            cents: 500,
        };
        let half = || OrderEvent::Paid { cents: 250 };
        let decide = |wish: Wish| move |order: &Order| order.decide(&wish);
        Given::<Order>::events([placed.clone(), half()])
            .when(decide(Wish::Ship))
            .then_refused(Refusal::TooEarly);
        Given::<Order>::events([placed.clone(), half(), half()])
            .when(decide(Wish::Ship))
            .then([OrderEvent::Shipped]);
        Given::<Order>::events([placed, half(), half()])
            .when(decide(Wish::Pay { cents: 1 }))
            .then_refused(Refusal::Overpaid);
    }
}
