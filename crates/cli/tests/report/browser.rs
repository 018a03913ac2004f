//! A headless browser, controlled with the DevTools protocol over a pipe. It uses no port, and ends with this process.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest time that the browser may take for a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// The possible names of the program. The first is Debian's smallest package.
const PROGRAMS: [&str; 5] = [
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

pub(crate) struct Browser {
    process: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    /// The events that the browser has reported since the last page was opened.
    events: Vec<Value>,
    directory: TempDir,
}

impl Browser {
    /// A browser. Returns none if there is none, and prints that; panics if `REQUIRE_BACKENDS` names `browser`.
    pub(crate) fn unless_missing() -> Option<Self> {
        if let Some(program) = program() {
            return Some(Self::start(&program));
        }
        let required = env::var("REQUIRE_BACKENDS").unwrap_or_default();
        let reason = format!(
            "none of {} is in PATH, and TEST_BROWSER names none",
            PROGRAMS.join(", ")
        );
        assert!(
            !required.split(',').any(|required| required.trim() == "browser"),
            "browser is required: {reason}"
        );
        println!("skipped: browser is not there: {reason}");
        None
    }

    fn start(program: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        // The browser reads commands from descriptor 3 and answers on 4. Only a shell can open these without unsafe code.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#, "sh"])
            .arg(program)
            // The sandbox does not work for root, and the pages are our own.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--hide-scrollbars"])
            .arg("--remote-debugging-pipe")
            .arg(format!(
                "--user-data-dir={}",
                directory.path().join("profile").display()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let message = serde_json::from_slice(&std::mem::take(&mut message)).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            input,
            messages,
            session: None,
            calls: 0,
            events: Vec::new(),
            directory,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) fn open(&mut self, html: &str) {
        let file = self.directory.path().join("report.html");
        fs::write(&file, html).unwrap();
        // An empty page in between, so that events of the previous page are not taken for those of this page.
        for url in ["about:blank", &format!("file://{}", file.display())] {
            self.events.clear();
            self.call("Page.navigate", json!({ "url": url }));
            self.wait_for("Page.loadEventFired");
        }
    }

    /// Shows the page on a screen of this width, with a light or dark colour scheme.
    pub(crate) fn screen(&mut self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "media": "screen", "features": features }),
        );
    }

    /// Shows the page on paper of this width, for a user who prefers a dark colour scheme.
    pub(crate) fn paper(&mut self, width: u32) {
        self.screen(width, "dark");
        let features = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "media": "print", "features": features }),
        );
    }

    /// The value of a JavaScript expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// The page as a PDF, on its own paper size.
    pub(crate) fn print(&mut self) -> Vec<u8> {
        let printed = self.call("Page.printToPDF", json!({ "preferCSSPageSize": true }));
        bytes(&printed["data"])
    }

    /// A picture of the whole page.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let height = self.evaluate("document.documentElement.scrollHeight");
        let width = self.evaluate("innerWidth");
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let picture = self.call(
            "Page.captureScreenshot",
            json!({ "clip": clip, "captureBeyondViewport": true }),
        );
        bytes(&picture["data"])
    }

    /// The network requests of the page, including its own, and its errors.
    pub(crate) fn traffic_and_complaints(&mut self) -> (Vec<String>, Vec<String>) {
        // The browser reports all events of the page before the answer to this.
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))");
        let of = |method: &'static [&str]| {
            let told = move |event: &&Value| method.contains(&event["method"].as_str().unwrap_or_default());
            self.events.iter().filter(told)
        };
        let requests = of(&["Network.requestWillBeSent"]);
        let url = |event: &Value| event["params"]["request"]["url"].as_str().unwrap().to_owned();
        let complaints = of(&["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"]);
        (requests.map(url).collect(), complaints.map(Value::to_string).collect())
    }

    fn wait_for(&mut self, method: &str) {
        while !self.events.iter().any(|event| event["method"] == method) {
            let event = self.receive(method);
            self.events.push(event);
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut message = message.to_string().into_bytes();
        message.push(0);
        self.input.write_all(&message).unwrap();
        loop {
            let answer = self.receive(method);
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn receive(&self, during: &str) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            panic!("{during}: the browser does not answer: {error}\n{log}")
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(program) = env::var_os("TEST_BROWSER") {
        return Some(program.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path);
    folders.find_map(|folder| {
        let mut programs = PROGRAMS.iter().map(|program| folder.join(program));
        programs.find(|program| program.is_file())
    })
}

fn bytes(data: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(data.as_str().unwrap()).unwrap()
}
