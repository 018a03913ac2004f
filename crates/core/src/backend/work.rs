//! A transaction of a store: the parts of its calls that are the same on every database.

use std::time::Duration;

use super::append::{check, describe};
use super::consumers;
use super::damaged::verified;
use super::load::{StreamSource, load};
use super::rules::DataRules;
use super::sql::SqlSession;
use super::within::Within;
use crate::consumer::stored::tables::{ConsumerChange, ConsumerTables, SlotsQuery};
use crate::consumer::{ConsumerSlot, ConsumerTransaction, ParkedEvent, ParkedQuery};
use crate::store::tenant::Scope;
use crate::{AggregateKey, Append, Appended, Error, EventStream, EventTransaction, Result, StreamRange, TenantId};

/// The state of a transaction: the tenant that it is limited to, whether it has appended, and the first failed call.
///
/// After a failure, every call that writes returns that failure, and the transaction does not commit. Loads still work.
#[derive(Debug)]
pub struct Work {
    rules: DataRules,
    scope: Scope,
    has_appended: bool,
    failure: Option<Error>,
}

impl Work {
    /// A transaction of a store with these rules.
    #[must_use]
    pub fn new(rules: DataRules) -> Self {
        Self {
            rules,
            scope: Scope::default(),
            has_appended: false,
            failure: None,
        }
    }

    /// Whether events were appended. After the commit, waiting threads must be woken.
    #[must_use]
    pub fn has_appended(&self) -> bool {
        self.has_appended
    }

    /// The first failure of a call.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Limits the transaction to a tenant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is already limited to another one.
    pub fn narrow(&mut self, tenant: &TenantId) -> Result<()> {
        self.scope.narrow(tenant)
    }

    /// Returns the result of a call, and remembers its failure.
    ///
    /// # Errors
    ///
    /// That of the result.
    pub fn remember<R>(&mut self, result: Result<R>) -> Result<R> {
        if let Err(error) = &result {
            self.failure = Some(error.clone());
        }
        result
    }

    /// The result of the caller's work; but if a call failed and the caller ignored that, its error. Commit if it is `Ok`.
    ///
    /// # Errors
    ///
    /// That of the caller's work, or of the failed call. Then roll back.
    pub fn outcome<R, E: From<Error>>(&mut self, result: Result<R, E>) -> Result<R, E> {
        result.and_then(|result| match &self.failure {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(result),
        })
    }

    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

/// A transaction of a store: implements its calls with the backend's statements.
pub trait WorkTransaction: Sized {
    /// The state of the transaction.
    fn work(&mut self) -> &mut Work;

    /// Runs the caller's work, during which this thread cannot call the store. Afterwards commit if the result is `Ok`, and roll back
    /// otherwise.
    ///
    /// # Errors
    ///
    /// As [`Work::outcome`].
    fn run_work<R, E: From<Error>>(
        &mut self,
        within: &Within,
        work: impl FnOnce(&mut Self) -> Result<R, E>,
    ) -> Result<R, E> {
        let entered = within.enter();
        let result = work(self);
        drop(entered);
        self.work().outcome(result)
    }

    /// Runs a statement on the tables of consumers. If it fails, the transaction fails.
    ///
    /// # Errors
    ///
    /// An earlier failure of the transaction, or that of the statement.
    fn run_statement<R>(&mut self, statement: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.work().check()?;
        let result = statement(self);
        self.work().remember(result)
    }

    /// [`EventTransaction::append_all`](crate::EventTransaction::append_all), with the statements that append.
    ///
    /// # Errors
    ///
    /// As there.
    fn append_by(
        &mut self,
        appends: &[Append<'_>],
        append: impl FnOnce(&mut Self, &[Append<'_>]) -> Result<Vec<Appended>>,
    ) -> Result<Vec<Appended>> {
        self.work().check()?;
        let (scope, limits) = (self.work().scope.clone(), self.work().rules.limits);
        let append_scoped = || {
            let appends = scope.appends(appends)?;
            check(&appends, &limits)?;
            append(self, &appends)
        };
        let result = append_scoped().map_err(|error: Error| error.during(describe(appends)));
        self.work().has_appended |= result.is_ok();
        self.work().remember(result)
    }

    /// [`EventTransaction::load_range`](crate::EventTransaction::load_range), with the statements that load.
    ///
    /// # Errors
    ///
    /// As there.
    fn load_by(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        load: impl FnOnce(&mut Self, &StreamRange) -> Result<EventStream>,
    ) -> Result<EventStream> {
        let scope = self.work().scope.clone();
        scope
            .range(range)
            .and_then(|range| load(self, &range))
            .and_then(|stream| verified(stream, self.work().rules.verify_on_read))
            .map_err(|error| error.during(format_args!("load {aggregate}")))
    }
}

/// A transaction of a store in an SQL database. Of it, [`EventTransaction`], [`ConsumerTables`] and [`ConsumerTransaction`] are made, which are
/// the same for every database.
pub trait SqlTransaction: WorkTransaction {
    /// Its connection, while statements run on it.
    type Session<'s>: SqlSession + StreamSource
    where
        Self: 's;

    /// The connection, once it was found to be as the store needs it if the caller has had it.
    ///
    /// # Errors
    ///
    /// If it is not; those of the backend.
    fn session(&mut self) -> Result<Self::Session<'_>>;

    /// Appends. A failed append leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`EventTransaction::append_all`].
    fn append(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Refuses a connection on which a checkpoint must not be written.
    ///
    /// # Errors
    ///
    /// Why not; those of the backend.
    fn check_consumers(&mut self) -> Result<()> {
        Ok(())
    }

    /// Saves a slot in one statement where [`check_consumers`](Self::check_consumers) would take another. Returns whether it was saved; if not,
    /// the ordinary way tells why.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn save_after_work(&mut self, slot: &ConsumerSlot) -> Result<bool> {
        let _ = slot;
        Ok(false)
    }

    /// Takes note of an error of a statement that ran on the connection, and returns the one that the caller gets.
    fn judge(&mut self, error: Error) -> Error {
        error
    }

    /// Runs a statement on the tables of consumers. If it fails, so does the transaction.
    ///
    /// # Errors
    ///
    /// An earlier failure of the transaction, or that of the statement.
    fn on_consumers<R>(&mut self, run: impl FnOnce(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.run_statement(|transaction| {
            let result = transaction
                .check_consumers()
                .and_then(|()| run(&mut transaction.session()?));
            result.map_err(|error| transaction.judge(error))
        })
    }
}

impl<T: SqlTransaction> EventTransaction for T {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.append_by(appends, |transaction, appends| {
            transaction.append(appends).map_err(|error| transaction.judge(error))
        })
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.load_by(aggregate, range, |transaction, range| {
            let stream = load(&mut transaction.session()?, aggregate, range);
            stream.map_err(|error| transaction.judge(error))
        })
    }
}

impl<T: SqlTransaction> ConsumerTables for T {
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<()> {
        if let ConsumerChange::Save(slot) = change
            && self.work().failure().is_none()
        {
            let saved = self.save_after_work(slot).map_err(|error| error.during(change));
            if self.work().remember(saved)? {
                return Ok(());
            }
        }
        self.on_consumers(|session| consumers::change(session, change))
    }

    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>> {
        self.on_consumers(|session| consumers::slots(session, which))
    }

    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.on_consumers(|session| consumers::parked(session, which))
    }

    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64> {
        self.on_consumers(|session| consumers::members(session, consumer, seen_within))
    }
}

impl<T: SqlTransaction> ConsumerTransaction for T {
    fn scope(&mut self, tenant: &TenantId) -> Result<()> {
        self.work().narrow(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Limits};

    struct Transaction(Work);

    impl WorkTransaction for Transaction {
        fn work(&mut self) -> &mut Work {
            &mut self.0
        }
    }

    fn transaction() -> Transaction {
        Transaction(Work::new(DataRules::new(Limits::PORTABLE, false)))
    }

    fn failed() -> Error {
        Error::new(ErrorKind::Unavailable {
            reason: "the server is gone".into(),
        })
    }

    #[test]
    fn a_failure_that_the_caller_ignores_is_the_outcome() {
        let mut transaction = transaction();
        let result = transaction.run_work(&Within::new(), |transaction| {
            let ignored = transaction.run_statement(|_| Err::<(), _>(failed()));
            assert!(ignored.unwrap_err().is_retryable());
            Ok::<_, Error>(7)
        });
        assert_eq!(result.unwrap_err().to_string(), failed().to_string());
    }

    #[test]
    fn nothing_runs_after_a_failure() {
        let mut transaction = transaction();
        let _ = transaction.run_statement(|_| Err::<(), _>(failed()));
        let statement = transaction.run_statement(|_| -> Result<()> { panic!("it runs") });
        assert_eq!(statement.unwrap_err().to_string(), failed().to_string());
        let append = transaction.append_by(&[], |_, _| panic!("it appends"));
        assert_eq!(append.unwrap_err().to_string(), failed().to_string());
        assert!(!transaction.0.has_appended());
    }

    #[test]
    fn the_store_is_refused_during_the_work_only() {
        let (mut transaction, within) = (transaction(), Within::new());
        let refused = transaction.run_work(&within, |_| Ok::<_, Error>(within.check_outside().is_err()));
        assert!(refused.unwrap());
        assert!(within.check_outside().is_ok());
    }
}
