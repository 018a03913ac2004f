//! An order service: commands that act once, a read model, mails by several processes, and a check that every sum is exact.
//!
//! Eight threads execute commands from a queue that delivers some of them twice. A projection keeps a table of what each customer has
//! ordered, and is reset while everything runs. Two other processes send a mail for each shipped order. One of them is killed in the
//! middle, and started again.
//!
//! ```text
//! cargo run --example order_service                                    # in a temporary file
//! cargo run --example order_service -- sqlite:orders.db                # in a file that is kept: it must be new
//! cargo run --example order_service --features postgres -- postgres://clerk@localhost/orders
//! cargo run --example order_service --features mysql -- mysql://clerk@localhost/orders
//! ```

mod orders;
mod sales;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{env, fs, thread};

use firefly_eventstore::consumer::{BoxError, OnFailure, Runner, Subscription, reset, status};
use firefly_eventstore::prelude::*;
use firefly_eventstore::{Context, Repository, SnapshotPolicy};

use orders::{Order, OrderEvent, Refusal, Wish};
use sales::{Database, Sales, Sums};

const MAILS: &str = "shipped-mail.v1";
const ORDERS: usize = 300;
const LONG: Duration = Duration::from_secs(120);

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let directory = tempfile::tempdir()?;
    let outbox = directory.path().join("outbox");
    match arguments.as_slice() {
        [] => serve(
            &format!("sqlite:{}", directory.path().join("orders.db").display()),
            &outbox,
        ),
        [role, url, outbox] if role == "mails" => send_mails(url, PathBuf::from(outbox)),
        [url] => serve(url, &outbox),
        _ => Err("usage: order_service [URL of an empty database]".into()),
    }
}

/// Opens the database that the URL names, and runs the service on it.
fn serve(url: &str, outbox: &Path) -> Result<(), BoxError> {
    firefly_eventstore::migrate(url)?;
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => run(SqliteEventStore::open(url.trim_start_matches("sqlite:"))?, url, outbox),
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => run(PostgresEventStore::open(url)?, url, outbox),
        #[cfg(feature = "mysql")]
        Some("mysql" | "mariadb") => run(MysqlEventStore::open(url)?, url, outbox),
        _ => Err(format!("{url} names no database that this program was compiled for").into()),
    }
}

fn run<S: Database>(store: S, url: &str, outbox: &Path) -> Result<(), BoxError> {
    sales::make_table(&store)?;
    let commands = commands();
    let expected = expected(&commands);
    let queue = Queue(Mutex::new(VecDeque::from(commands)));
    println!("{} commands for {ORDERS} orders, some of them twice", queue.len());

    let mut mailers = [Mailer::start(url, outbox)?, Mailer::start(url, outbox)?];
    let running = Runner::new(store.clone()).project(Sales).start()?;

    let orders = Repository::<_, Order>::new(store.clone())?.with_snapshots(SnapshotPolicy::Every(10))?;
    let (orders, queue) = (&orders, &queue);
    let executed_before = thread::scope(|scope| -> Result<usize, BoxError> {
        let workers: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || work(number, orders, queue)))
            .collect();

        thread::sleep(Duration::from_millis(300));
        mailers[0].kill()?;
        println!("a process that sends mails was killed");
        thread::sleep(Duration::from_millis(200));
        mailers[0] = Mailer::start(url, outbox)?;
        reset_while_it_runs(&store)?;
        println!("the read model begins anew");

        let mut executed_before = 0;
        for worker in workers {
            executed_before += worker.join().expect("a worker does not panic")?;
        }
        Ok(executed_before)
    })?;
    println!("{executed_before} commands had been executed before, and did nothing");

    // Once the consumers have handled the log up to here, the read model and the mails contain everything that was appended.
    let last = store.high_water_mark()?;
    running.wait_for("sales.v1", last, LONG)?;
    check_sums(&sales::read(&store)?, &expected)?;
    println!("every sum is exact: {} customers, {} orders", expected.len(), ORDERS);

    firefly_eventstore::consumer::wait_for(&store, MAILS, last_shipped(&store)?, LONG)?;
    check_mails(&store, outbox)?;
    for consumer in status(&store, None)? {
        println!(
            "{}: at {}, {} behind, {} parked",
            consumer.name, consumer.position, consumer.behind, consumer.parked
        );
    }
    let stopped = running.stop();
    match stopped.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A command as a queue delivers it. Repeated deliveries have the same id.
#[derive(Clone, Debug)]
struct Delivered {
    id: Uuid,
    order: Uuid,
    wish: Wish,
}

/// The queue of commands.
struct Queue(Mutex<VecDeque<Delivered>>);

impl Queue {
    fn len(&self) -> usize {
        self.commands().len()
    }

    fn next(&self) -> Option<Delivered> {
        self.commands().pop_front()
    }

    fn put_back(&self, command: Delivered) {
        self.commands().push_back(command);
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<Delivered>> {
        self.0.lock().expect("no worker panics while it holds the queue")
    }
}

/// The commands: three for each order. Every fourth is delivered twice.
fn commands() -> Vec<Delivered> {
    let mut commands = Vec::new();
    for number in 0..ORDERS {
        let order = Uuid::now_v7();
        let cents = 100 + (number as i64 * 37) % 900;
        let customer = format!("customer {}", number % 7);
        for wish in [Wish::Place { customer, cents }, Wish::Pay { cents }, Wish::Ship] {
            commands.push(Delivered {
                id: Uuid::now_v7(),
                order,
                wish,
            });
        }
    }
    let twice: Vec<_> = commands.iter().step_by(4).cloned().collect();
    commands.extend(twice);
    commands
}

fn expected(commands: &[Delivered]) -> Sums {
    let mut sums = Sums::new();
    let mut seen = BTreeSet::new();
    for command in commands.iter().filter(|command| seen.insert(command.id)) {
        if let Wish::Place { customer, cents } = &command.wish {
            let sum = sums.entry(customer.clone()).or_default();
            *sum = (sum.0 + 1, sum.1 + cents);
        }
    }
    sums
}

/// Executes commands until none is left. Returns how many of them had been executed before.
fn work<S: Database>(number: usize, orders: &Repository<S, Order>, queue: &Queue) -> Result<usize, BoxError> {
    let mut executed_before = 0;
    loop {
        let Some(command) = queue.next() else {
            return Ok(executed_before);
        };
        let context = Context::new()
            .command_id(command.id)
            .created_by(format!("worker {number}"))?;
        match orders.execute_as(&context, command.order, |order| order.decide(&command.wish)) {
            Ok(executed) => executed_before += usize::from(executed.was_executed_before()),
            // Another worker is still executing the command that must come first.
            Err(error) if error.refusal() == Some(&Refusal::TooEarly) => queue.put_back(command),
            Err(error) => return Err(format!("{command:?}: {error:?}").into()),
        }
    }
}

/// Resets the projection. The database may report a deadlock between this and the projection's own commit.
fn reset_while_it_runs<S: Database>(store: &S) -> Result<(), BoxError> {
    loop {
        match reset(store, &Sales) {
            Err(error) if store.is_transient(&*error) => {}
            result => return result,
        }
    }
}

fn check_sums(found: &Sums, expected: &Sums) -> Result<(), BoxError> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("the read model has {found:?}, and should have {expected:?}").into()),
    }
}

/// A process that sends mails.
struct Mailer(Child);

impl Mailer {
    fn start(url: &str, outbox: &Path) -> Result<Self, BoxError> {
        let child = Command::new(env::current_exe()?)
            .arg("mails")
            .args([url.as_ref(), outbox.as_os_str()])
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// Kills the process, as a power cut would: it finishes nothing.
    fn kill(&mut self) -> Result<(), BoxError> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        // The process stops when its standard input ends.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The program of the other processes: it sends a mail for each shipped order, as a line in a file.
fn send_mails(url: &str, outbox: PathBuf) -> Result<(), BoxError> {
    let mails = Subscription::to::<OrderEvent>(MAILS, move |delivery| {
        if delivery.event == OrderEvent::Shipped {
            let mut outbox = fs::OpenOptions::new().create(true).append(true).open(&outbox)?;
            // If this event is delivered again, the key is the same. So the receiver can ignore the second mail.
            outbox.write_all(format!("{} {}\n", delivery.key(), delivery.envelope.aggregate.id()).as_bytes())?;
        }
        Ok(())
    })
    .group(4)
    .lease(Duration::from_secs(1))
    .on_failure(OnFailure::retry(5).then_park());
    let store: Arc<dyn Store> = connect(url)?;
    let running = Runner::new(store).subscribe(mails).start()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    running.stop();
    Ok(())
}

/// The sequence of the last event that needs a mail.
fn last_shipped(store: &impl EventStore) -> Result<GlobalSequence, BoxError> {
    let query = EventQuery::new().event_types(["order.shipped"])?.backwards().limit(1);
    let last = store.read(query).next().ok_or("no order was shipped")??;
    Ok(last.global_sequence)
}

/// Checks that every shipped order has its mail. An order that was being handled when the process died may have two, with the same key.
fn check_mails(store: &impl EventStore, outbox: &Path) -> Result<(), BoxError> {
    let mut mails = BTreeMap::<String, usize>::new();
    for line in fs::read_to_string(outbox)?.lines() {
        let (key, _) = line.split_once(' ').ok_or("a mail without an order")?;
        *mails.entry(key.to_owned()).or_default() += 1;
    }
    let shipped: BTreeSet<String> = store
        .read(EventQuery::new().event_types(["order.shipped"])?)
        .map(|event| Ok(event?.event_id.to_string()))
        .collect::<Result<_, Error>>()?;
    if !shipped.iter().eq(mails.keys()) {
        return Err(format!(
            "{} orders were shipped, and there are mails for {}",
            shipped.len(),
            mails.len()
        )
        .into());
    }
    let repeated = mails.values().filter(|times| **times > 1).count();
    if repeated > 1 {
        return Err(
            format!("one process was killed, with one event in hand, but {repeated} mails were sent twice").into(),
        );
    }
    println!("{} mails, {repeated} of them twice", mails.len());
    Ok(())
}
