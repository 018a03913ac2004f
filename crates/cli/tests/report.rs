//! The report in a real browser: in light and dark, on a phone and on a large screen, on paper.
//!
//! If `REPORT_PICTURES` names a folder, pictures of the tested pages are written there.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../src/age.rs"]
mod age;
#[path = "report/browser.rs"]
mod browser;
// The tool's own source, so that stores without a database can be used.
#[path = "../src/report/mod.rs"]
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use fastrand::Rng;
use firefly_eventstore::consumer::{ConsumerState, Registration, StartAt};
use firefly_eventstore::operate::{Audit, Audited, Finding, Operations};
use firefly_eventstore::prelude::*;
use firefly_eventstore::{Limits, MemoryEventStore, Statistics};
use serde_json::{Value, json};
use time::Duration;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use crate::browser::Browser;
use crate::report::About;

const CHECKS: &str = include_str!("report/checks.js");
/// A phone's width, and a large screen's.
const WIDTHS: [u32; 2] = [360, 1280];
/// The width between the margins of A4, in CSS pixels.
const PAPER: u32 = 680;
/// The largest size of a report, in bytes.
const MOST: usize = 400_000;

#[test]
fn looks_right_on_a_phone_and_on_a_screen_in_the_light_and_in_the_dark() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    for (name, html) in reports() {
        browser.open(&html);
        for width in WIDTHS {
            for scheme in ["light", "dark"] {
                browser.screen(width, scheme);
                keep(&format!("{name}-{width}-{scheme}.png"), || browser.picture());
                let problems = browser.evaluate(CHECKS);
                assert_eq!(problems, json!([]), "{name}, {width} px, {scheme}");
                browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = false)");
            }
        }
        let (requests, complaints) = browser.traffic_and_complaints();
        assert_eq!(complaints, [""; 0], "{name}");
        assert_eq!(requests.len(), 1, "{name}: nothing but the page itself: {requests:?}");
    }
}

#[test]
fn fits_on_paper() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    for (name, html) in reports() {
        browser.open(&html);
        browser.paper(PAPER);
        let printed = browser.print();
        keep(&format!("{name}.pdf"), || printed.clone());
        let pages = printed.windows(11).filter(|bytes| bytes == b"/Type /Page").count()
            - printed.windows(12).filter(|bytes| bytes == b"/Type /Pages").count();
        let expected = match name {
            "hostile" => 10..=45,
            _ => 2..=7,
        };
        assert!(expected.contains(&pages), "{name}: {pages} pages");

        let whole = "[...document.querySelectorAll('figure, tr, .tiles')].every(part => getComputedStyle(part).breakInside === 'avoid')";
        assert_eq!(
            browser.evaluate(whole),
            true,
            "{name}: parts are cut by the end of a page"
        );
        let highest = "Math.max(0, ...[...document.querySelectorAll('figure, .tiles')].map(part => part.clientHeight))";
        assert!(
            browser.evaluate(highest).as_f64().unwrap() < 900.0,
            "{name}: a part is higher than a page"
        );
        let light = "getComputedStyle(document.body).backgroundColor";
        assert_eq!(browser.evaluate(light), "rgb(255, 255, 255)", "{name}");
        assert_eq!(browser.evaluate(CHECKS), json!([]), "{name} on paper");
    }
}

/// Labels under the time axis, for every step.
#[test]
fn any_span_of_time_has_labels_that_do_not_overlap() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    let first = datetime!(1000-03-05 07:08:09.123456 UTC);
    let mut seconds = 1;
    while let Some(last) = first.checked_add(Duration::seconds(seconds)) {
        let store = MemoryEventStore::new();
        for time in [first, last] {
            append(
                &store,
                None,
                "Account",
                Uuid::now_v7(),
                vec![event("account.opened", 10, time)],
            );
        }
        browser.open(&written(&store, &about()));
        for width in WIDTHS {
            browser.screen(width, "light");
            assert_eq!(browser.evaluate(CHECKS), json!([]), "{seconds} s, {width} px");
            let labels = "[...document.querySelectorAll('#time-narrow-title, #time-wide-title')].map(title => title.parentElement) \
                          .find(plot => plot.checkVisibility()).querySelectorAll('.axis').length";
            assert!(
                browser.evaluate(labels).as_u64().unwrap() >= 2,
                "{seconds} s, {width} px"
            );
        }
        seconds = seconds * 5 / 2 + 1;
    }
}

#[test]
fn shows_the_numbers_of_the_store() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    for (tenant, store) in [(None, ordinary()), (Some("north"), ordinary()), (None, hostile())] {
        let mut about = about();
        about.tenant = tenant.map(|tenant| tenant.try_into().unwrap());
        let statistics = store.statistics(about.tenant.as_ref()).unwrap();
        browser.open(&written(&*store, &about));

        let tile = |browser: &mut Browser, name: &str| {
            let found = format!(
                "[...document.querySelectorAll('.tiles dt')].find(dt => dt.textContent === {name:?}).nextSibling"
            );
            browser
                .evaluate(&format!("{found}.textContent"))
                .as_str()
                .unwrap()
                .to_owned()
        };
        let shown = |browser: &mut Browser, name| tile(browser, name).replace(',', "").parse::<u64>().unwrap();
        assert_eq!(shown(&mut browser, "Events"), statistics.total_events);
        assert_eq!(shown(&mut browser, "Aggregates"), statistics.total_aggregates);
        assert_eq!(shown(&mut browser, "Event types"), statistics.unique_event_types);
        assert_eq!(
            shown(&mut browser, "Aggregate types"),
            statistics.unique_aggregate_types
        );
        assert_eq!(
            shown(&mut browser, "High-water mark"),
            store.high_water_mark().unwrap().get()
        );
        let snapshots = store.snapshot_statistics(about.tenant.as_ref()).unwrap().snapshots;
        assert_eq!(shown(&mut browser, "Snapshots"), snapshots);
        let times = |edge: fn(&Statistics) -> OffsetDateTime| {
            let time = edge(&statistics).format(&Rfc3339).unwrap();
            format!("{}Z", time[..19].replace('T', " "))
        };
        let first = |statistics: &Statistics| statistics.details.iter().map(|row| row.first_event_at).min().unwrap();
        let last = |statistics: &Statistics| statistics.details.iter().map(|row| row.last_event_at).max().unwrap();
        assert_eq!(tile(&mut browser, "First event"), times(first));
        assert_eq!(tile(&mut browser, "Last event"), times(last));

        let rows = |browser: &mut Browser, caption: &str| {
            let table = format!(
                "[...document.querySelectorAll('table')].find(table => table.caption.textContent === {caption:?})"
            );
            let rows = format!("[...{table}.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))");
            serde_json::from_value::<Vec<Vec<String>>>(browser.evaluate(&rows)).unwrap()
        };
        let shown = rows(&mut browser, "Events per event type");
        let most = statistics.event_types.iter().take(20);
        let expected: Vec<_> = most
            .map(|share| {
                (
                    share.event_type.to_string(),
                    grouped(share.event_count),
                    format!("{:.2}\u{a0}%", share.percentage),
                )
            })
            .collect();
        let found: Vec<_> = shown
            .iter()
            .take(20)
            .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
            .collect();
        assert_eq!(found, expected);
        let others = statistics.event_types.len().saturating_sub(20);
        assert_eq!(shown.len(), expected.len() + usize::from(others > 0));
        if others > 0 {
            assert_eq!(shown[20][0], format!("{others} others"));
        }

        let sum = |rows: &[Vec<String>]| -> u64 {
            rows.iter()
                .map(|row| row[1].replace(',', "").parse::<u64>().unwrap())
                .sum()
        };
        for table in [
            "Events per event type",
            "Events per aggregate type",
            "Events per tenant",
            "Events by the size of their data",
        ] {
            assert_eq!(sum(&rows(&mut browser, table)), statistics.total_events, "{table}");
        }
        let step = browser.evaluate("document.querySelector('#time-wide-title').textContent");
        assert_eq!(
            sum(&rows(&mut browser, step.as_str().unwrap())),
            statistics.total_events
        );
        let lengths = rows(&mut browser, "Aggregates by the number of their events");
        assert_eq!(sum(&lengths), statistics.total_aggregates);
        if statistics.aggregate_types.len() <= 20 {
            let shown: BTreeMap<_, _> = rows(&mut browser, "Events per aggregate type")
                .into_iter()
                .map(|row| (row[0].clone(), row[3].clone()))
                .collect();
            for activity in &statistics.aggregate_types {
                assert_eq!(
                    shown[activity.aggregate_type.as_str()],
                    grouped(activity.aggregate_count)
                );
            }
        }
    }
}

/// Growth, median and so on, of numbers that can be computed by hand.
#[test]
fn tells_growth_and_middle_of_a_small_store() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    let store = MemoryEventStore::new();
    let begin = datetime!(2024-01-01 00:00 UTC);
    // 100 days. One aggregate has an event per day, one has two at the beginning, one has five in the last tenth.
    let daily: Vec<_> = (0..=100)
        .map(|day| event("a.b", 100, begin + Duration::days(day)))
        .collect();
    let early = (0..2).map(|_| event("a.b", 200, begin)).collect();
    let late = (0..5)
        .map(|hour| event("a.b", 3_000, begin + Duration::days(96) + Duration::hours(hour)))
        .collect();
    append(&store, None, "Daily", Uuid::now_v7(), daily);
    append(&store, None, "Early", Uuid::now_v7(), early);
    append(&store, None, "Late", Uuid::now_v7(), late);
    browser.open(&written(&store, &about()));

    let cells = "[...[...document.querySelectorAll('table')].find(table => table.caption.textContent.startsWith('The fastest')).tBodies[0].rows] \
                 .map(row => [...row.cells].map(cell => cell.innerText.split('\\n')[0].trim()))";
    assert_eq!(
        browser.evaluate(cells),
        json!([
            ["Daily", "101", "1.01", "1.10", "2024-01-01 00:00:00Z"],
            ["Late", "5", "0.50", "0.50", "2024-04-06 00:00:00Z"],
            ["Early", "2", "0.02", "0", "2024-01-01 00:00:00Z"],
        ])
    );
    let description = |id| format!("document.getElementById('{id}-wide-desc').textContent.replaceAll('\\u00a0', ' ')");
    assert_eq!(
        browser.evaluate(&description("lengths")),
        "3 aggregates; max 101, 95 % ≤ 101, median 5."
    );
    assert_eq!(
        browser.evaluate(&description("sizes")),
        "108 events; max 3.00 kB, 95 % ≤ 200 B, median 100 B."
    );
    assert_eq!(
        browser.evaluate(&description("time")),
        "108 events; the most, 12, in week of 2024-04-01."
    );
}

#[test]
fn names_and_findings_are_text() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    let html = reports().into_iter().find(|(name, _)| *name == "hostile").unwrap().1;
    browser.open(&html);
    let text = browser.evaluate("document.body.textContent");
    let text = text.as_str().unwrap();
    for name in hostile_names().iter().take(5) {
        assert!(text.contains(name), "{name}");
    }
    assert!(text.contains("The first 100 of "), "the findings are cut");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('table')[0].tBodies[0].rows.length"),
        100
    );
    assert_eq!(browser.evaluate("document.title"), hostile_names()[0]);
}

#[test]
fn shows_how_consumers_fare_but_not_to_a_tenant() {
    let store = ordinary();
    let mark = store.high_water_mark().unwrap().get();
    let html = written(&*store, &about());
    let section = html
        .split("<h2>Consumers</h2>")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    let rows: Vec<_> = section.split("<tr>").skip(2).take(3).collect();
    let begins = |row: &str, name: &str, state: &str| {
        assert!(
            row.replace("<wbr>", "")
                .starts_with(&format!("<th scope=\"row\" class=\"prose\"><bdi>{name}</bdi>")),
            "{row}"
        );
        assert!(row.contains(&format!("</span> {state}</span>")), "{row}");
    };
    // The worst comes first.
    begins(rows[0], "welcome-mail.v1", "failed");
    assert!(
        rows[0].contains("<br><bdi>the mail server refused the address</bdi>"),
        "{}",
        rows[0]
    );
    assert!(rows[0].contains(&format!(">{}<", grouped(mark - 1))), "{}", rows[0]);
    begins(rows[1], "balances.v1", "running");
    begins(rows[2], "inline.v1", "inline");
    assert_eq!(rows.len(), 3);
    assert!(
        section.contains("slot 1 of welcome-mail.v1 failed at global sequence"),
        "no advice"
    );

    let about = About {
        tenant: Some("north".try_into().unwrap()),
        ..about()
    };
    let html = written(&*store, &about);
    assert!(
        !html.contains("mail"),
        "a tenant's report tells what is not the tenant's"
    );
    assert!(written(&*one(), &self::about()).contains("No consumer has begun."));
}

#[test]
fn is_small_whatever_is_in_the_store() {
    let mut reports = reports();
    // Every text has its greatest length, in the characters that are longest in HTML, and there is more of everything than the report
    // lists.
    let store = MemoryEventStore::new();
    for number in 0..110 {
        let name = format!("{number:03}{}", "&".repeat(252));
        let event = event(&name, 10, datetime!(2024-01-01 00:00 UTC));
        let id = event.event_id();
        append(&store, Some(&name), &name, Uuid::now_v7(), vec![event]);
        consumer(&store, &name, GlobalSequence::ZERO, Some(&"&".repeat(10_000)));
        store.tamper(id, |event| event.checksum = None);
    }
    let (audited, mut findings) = audited(&store);
    for finding in &mut findings {
        finding.reason = "&".repeat(10_000);
    }
    let about = About {
        store: "&".repeat(10_000),
        tenant: None,
        audited: Some((audited, findings)),
        title: Some("&".repeat(10_000)),
    };
    reports.push(("longest", written(&store, &about)));
    for (name, html) in reports {
        assert!(html.len() < MOST, "{name}: {} bytes", html.len());
    }
}

/// Checks that each check fails on a page with one error.
#[test]
fn the_checks_find_what_is_wrong() {
    let Some(mut browser) = Browser::unless_missing() else {
        return;
    };
    let html = written(&*ordinary(), &about());
    let breaks: [(&str, &str, &str); 20] = [
        ("--muted: #556270", "--muted: #8a949e", "contrast of"),
        ("--muted: #a4b0bc", "--muted: #66717c", "contrast of"),
        ("--bar: #2f6fae", "--bar: #c8dcf0", "contrast of a drawing"),
        ("font-size=\"12\"", "font-size=\"10\"", "text of 10.0 px"),
        ("max-width: 54rem;", "min-width: 30rem;", "the page scrolls sideways"),
        ("overflow-x: auto;", "", "content wider than its box"),
        ("viewBox=\"0 0 328 ", "viewBox=\"0 0 290 ", "outside of the drawing"),
        (
            ">median ",
            ">this is a median which is far too long for the drawing that it is in ",
            "outside of the drawing",
        ),
        ("font-size=\"12\"", "font-size=\"26\"", "a text on another"),
        ("role=\"img\"", "", "a drawing without role"),
        ("<desc", "<metadata", "a drawing without title and description"),
        ("<details>", "<details><!--", "a drawing without numbers"),
        ("lang=\"en\"", "", "no language"),
        ("<h2>", "<h3>", "headings out of order"),
        ("<section>", "<section onclick=\"\">", "a handler"),
        (
            "</header>",
            "<a href=\"https://example.org\">more</a></header>",
            "what a report does without",
        ),
        ("</header>", "<script>1</script></header>", "what a report does without"),
        ("tabindex=\"0\"", "", "a scrolling box for the mouse only"),
        (".narrow {", ".never {", "not one drawing of a figure is shown"),
        ("-narrow-title\">", "-wide-title\">", "an id twice"),
    ];
    for (right, wrong, expected) in breaks {
        assert!(html.contains(right), "{right}");
        browser.open(&html.replace(right, wrong));
        let mut found = Vec::new();
        for (width, scheme) in [(360, "light"), (360, "dark"), (1280, "light")] {
            browser.screen(width, scheme);
            let problems = browser.evaluate(CHECKS);
            found.extend(problems.as_array().unwrap().iter().map(Value::to_string));
        }
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{wrong}: {found:?}"
        );
    }

    let asks = "</header><img src=\"https://127.0.0.1:1/a.png\">";
    browser.open(&html.replace("</header>", asks));
    let (_, complaints) = browser.traffic_and_complaints();
    assert!(
        complaints
            .iter()
            .any(|complaint| complaint.contains("Content Security Policy")),
        "{complaints:?}"
    );
    browser.open(
        &html
            .replace("</header>", asks)
            .replace("http-equiv=\"Content-Security-Policy\"", ""),
    );
    let (requests, _) = browser.traffic_and_complaints();
    assert!(
        requests.iter().any(|request| request.contains("127.0.0.1")),
        "{requests:?}"
    );
}

fn about() -> About {
    About {
        store: "memory".to_owned(),
        tenant: None,
        audited: None,
        title: None,
    }
}

fn written(store: &dyn Operations, about: &About) -> String {
    let mut html = Vec::new();
    let mut told = Vec::new();
    report::write(store, about, &mut html, &mut |at, of| told.push((at, of))).unwrap();
    let mark = store.high_water_mark().unwrap().get();
    assert_eq!(told.last(), Some(&(mark, mark)));
    assert!(told.is_sorted() && told.iter().all(|(_, of)| *of == mark), "{told:?}");
    String::from_utf8(html).unwrap()
}

/// The tested reports.
fn reports() -> Vec<(&'static str, String)> {
    let mut reports = Vec::new();
    for (name, store) in [
        ("empty", empty()),
        ("one", one()),
        ("single", single()),
        ("burst", burst()),
        ("ages", ages()),
    ] {
        reports.push((name, written(&*store, &about())));
    }
    let store = ordinary();
    let about_ordinary = About {
        store: "postgres://ledger@db.example.org/ledger".to_owned(),
        audited: Some(audited(&*store)),
        ..about()
    };
    reports.push(("ordinary", written(&*store, &about_ordinary)));
    let store = hostile();
    let about_hostile = About {
        store: format!("sqlite:/{}", "very-long-folder/".repeat(20)),
        tenant: None,
        audited: Some(audited(&*store)),
        title: Some(hostile_names()[0].clone()),
    };
    reports.push(("hostile", written(&*store, &about_hostile)));
    if let Ok(url) = env::var("REPORT_STORE") {
        let store = firefly_eventstore::connect_operator(&url).unwrap();
        reports.push(("real", written(&*store, &About { store: url, ..about() })));
    }
    reports
}

fn audited(store: &dyn Operations) -> (Audited, Vec<Finding>) {
    let mut findings = Vec::new();
    let audited = Audit::new()
        .run(store, |_| {}, |finding| findings.push(finding))
        .unwrap();
    (audited, findings)
}

fn empty() -> Arc<dyn Operations> {
    Arc::new(MemoryEventStore::new())
}

fn one() -> Arc<dyn Operations> {
    let store = MemoryEventStore::new();
    let opened = event("account.opened", 40, datetime!(2024-02-29 23:59:59.999999 UTC));
    append(&store, None, "Account", Uuid::now_v7(), vec![opened]);
    Arc::new(store)
}

/// One type, one aggregate, some hours.
fn single() -> Arc<dyn Operations> {
    let store = MemoryEventStore::new();
    let begin = datetime!(2024-12-31 20:15 UTC);
    let events = (0..300)
        .map(|n| event("reading.taken", 64, begin + Duration::minutes(n)))
        .collect();
    append(&store, Some("only"), "Sensor", Uuid::now_v7(), events);
    Arc::new(store)
}

/// Many events within seconds.
fn burst() -> Arc<dyn Operations> {
    let store = MemoryEventStore::new();
    let begin = datetime!(2024-05-01 12:00:00 UTC);
    for batch in 0..40 {
        let at = |n: i64| begin + Duration::microseconds((batch * 500 + n) * 250);
        append(
            &store,
            None,
            "Load",
            Uuid::now_v7(),
            (0..500).map(|n| event("load.made", 100, at(n))).collect(),
        );
    }
    Arc::new(store)
}

/// From the first storable year to the last.
fn ages() -> Arc<dyn Operations> {
    let store = MemoryEventStore::new();
    for (kind, time) in [
        ("age.begun", datetime!(1000-01-01 00:00 UTC)),
        ("age.passed", datetime!(2000-06-01 00:00 UTC)),
        ("age.ended", datetime!(9999-12-31 23:59:59.999999 UTC)),
    ] {
        append(&store, None, "Age", Uuid::now_v7(), vec![event(kind, 1_000, time)]);
    }
    Arc::new(store)
}

/// A usual store: three years, a few types and tenants, some long streams and many short ones, snapshots.
fn ordinary() -> Arc<dyn Operations> {
    let store = firefly_eventstore::connect_operator("sqlite::memory:").unwrap();
    let mut random = Rng::with_seed(7); // the same numbers in every run
    let begin = datetime!(2022-03-14 09:26:53 UTC);
    let types = [
        ("Account", ["account.opened", "money.deposited", "money.withdrawn"]),
        (
            "Customer",
            ["customer.registered", "customer.moved", "customer.renamed"],
        ),
        (
            "Transfer",
            ["transfer.requested", "transfer.accepted", "transfer.completed"],
        ),
    ];
    for number in 0..400_u32 {
        let (aggregate_type, event_types) = types[random.usize(..3)];
        let tenant = [Some("north"), Some("north"), Some("south"), None][random.usize(..4)];
        let length = 1 + random.u64(..4) * random.u64(..4) + if number % 40 == 0 { 150 } else { 0 };
        let mut time = begin + Duration::hours(i64::from(number * number / 7));
        let events = (0..length).map(|place| {
            let event_type = event_types[if place == 0 { 0 } else { 1 + random.usize(..2) }];
            time += Duration::minutes(random.i64(0..3_000));
            event(event_type, 20 + random.u64(..30) * random.u64(..30), time)
        });
        let aggregate = append(
            &*store,
            tenant,
            aggregate_type,
            Uuid::from_u128(number.into()),
            events.collect(),
        );
        if length > 10 && tenant.is_none() {
            let snapshot = NewSnapshot::new(
                &aggregate,
                Version::new(length).unwrap(),
                "state",
                &json!({ "n": number }),
            )
            .unwrap();
            store.save_snapshot(None, &snapshot).unwrap();
        }
    }
    let mark = store.high_water_mark().unwrap();
    consumer(&*store, "balances.v1", mark, None);
    consumer(&*store, "inline.v1", GlobalSequence::ZERO, None);
    let failed = GlobalSequence::new(mark.get() - 1).unwrap();
    consumer(
        &*store,
        "welcome-mail.v1",
        failed,
        Some("the mail server refused the address"),
    );
    store
}

/// A consumer that has handled the log up to a position. With an error, it has failed after that and parked the failing event.
fn consumer(store: &dyn Operations, name: &str, position: GlobalSequence, error: Option<&str>) {
    let query = EventQuery::new();
    let registration = Registration::new(name, &query)
        .slots(if error.is_some() { 3 } else { 1 })
        .start(StartAt::Position(position))
        .state(match name.contains("inline") {
            true => ConsumerState::Inline,
            false => ConsumerState::Running,
        });
    let begin = store.consume(&mut |tx| {
        tx.register(&registration)?;
        let Some(error) = error else { return Ok(()) };
        let next = GlobalSequence::new(position.get() + 1)?;
        let mut slot = tx.lock_slot(name, 1)?;
        slot.state = ConsumerState::Failed;
        tx.fail(&mut slot, next, error)?;
        tx.park(name, next, Uuid::now_v7(), 5, error)
    });
    begin.unwrap();
}

/// Strange names, and more damage than the report lists.
fn hostile() -> Arc<dyn Operations> {
    let store = MemoryEventStore::new().with_limits(Limits::TEXT);
    let begin = datetime!(2024-01-01 00:00 UTC);
    let mut damaged = Vec::new();
    for (place, name) in (0..).zip(hostile_names()) {
        for aggregate in 0..6 {
            let time = begin + Duration::days(place * 3 + aggregate);
            let event = event(name.as_str(), 10_u64.pow(u32::try_from(aggregate).unwrap()), time);
            damaged.push(event.event_id());
            append(&store, Some(name.as_str()), &name, Uuid::now_v7(), vec![event]);
        }
    }
    for name in hostile_names() {
        consumer(&store, &name, GlobalSequence::ZERO, Some(&name.repeat(20)));
    }
    for id in damaged {
        assert!(store.tamper(id, |event| event.checksum = None));
    }
    Arc::new(store)
}

fn hostile_names() -> Vec<String> {
    let mut names = vec![
        "<script>console.error('run')</script>".to_owned(),
        "\"quotes\" 'and' `more` &amp; <img src=x onerror=alert(1)>".to_owned(),
        "👩‍👩‍👧‍👦 emoji 🎉🇩🇪".to_owned(),
        "اسم الحدث مع أرقام ١٢٣".to_owned(),
        "שלום \u{202e}reversed\u{202c} עולם".to_owned(),
        "line\nbreak\tand\u{7}bell".to_owned(),
        "\u{202e}never ends".to_owned(),
    ];
    for c in ["&", "W", "漢", "😀", "\"", "a ", "مر", "<b>"] {
        names.push(c.repeat(255 / c.chars().count()));
    }
    for number in 0..13 {
        names.push(format!("{number:02}{}", "&".repeat(253)));
    }
    names
}

fn event(event_type: &str, bytes: u64, time: OffsetDateTime) -> NewEvent {
    let padding = "x".repeat(usize::try_from(bytes).unwrap().saturating_sub(2));
    NewEvent::from_json(event_type, format!("\"{padding}\""))
        .unwrap()
        .created_at(time)
        .unwrap()
}

fn append(
    store: &dyn Operations,
    tenant: Option<&str>,
    aggregate_type: &str,
    id: Uuid,
    events: Vec<NewEvent>,
) -> AggregateKey {
    let aggregate = AggregateKey::new(aggregate_type, id).unwrap();
    let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
    let append = Append::new(&aggregate, ExpectedVersion::NoStream, &events);
    let append = match &tenant {
        Some(tenant) => append.tenant(tenant),
        None => append,
    };
    store.append_all(&[append]).unwrap();
    aggregate
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

fn keep(name: &str, content: impl FnOnce() -> Vec<u8>) {
    let Some(folder) = env::var_os("REPORT_PICTURES").map(PathBuf::from) else {
        return;
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), content()).unwrap();
}
