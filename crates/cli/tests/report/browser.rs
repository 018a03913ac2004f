//! A headless browser, driven by the DevTools protocol over a pipe: no port, and it ends with this process.

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

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it may be called; the first is the smallest package that Debian has.
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
    /// What the browser told by itself since the last page was opened.
    events: Vec<Value>,
    directory: TempDir,
}

impl Browser {
    /// A browser, or none where there is none, which is printed, and is a failure if `REQUIRE_BACKENDS` names `browser`.
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
        // The browser takes its commands from descriptor 3 and answers on 4, which only a shell opens without unsafe code.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#, "sh"])
            .arg(program)
            // Root has no sandbox, and the pages are ours.
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

    /// Opens a page, and waits until it is there.
    pub(crate) fn open(&mut self, html: &str) {
        let file = self.directory.path().join("report.html");
        fs::write(&file, html).unwrap();
        // An empty page in between, or what the page before told would be taken for what this one tells.
        for url in ["about:blank", &format!("file://{}", file.display())] {
            self.events.clear();
            self.call("Page.navigate", json!({ "url": url }));
            self.wait_for("Page.loadEventFired");
        }
    }

    /// Shows the page on a screen so wide, to somebody who likes it light or dark.
    pub(crate) fn screen(&mut self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "media": "screen", "features": features }),
        );
    }

    /// Shows the page as it would be on paper so wide, to somebody who likes screens dark.
    pub(crate) fn paper(&mut self, width: u32) {
        self.screen(width, "dark");
        let features = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "media": "print", "features": features }),
        );
    }

    /// What an expression of JavaScript is in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// The page as a PDF, on the paper that it asks for.
    pub(crate) fn print(&mut self) -> Vec<u8> {
        let printed = self.call("Page.printToPDF", json!({ "preferCSSPageSize": true }));
        bytes(&printed["data"])
    }

    /// The page as a picture, the whole of it.
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

    /// What the page asked for over the network, itself included, and what went wrong in it.
    pub(crate) fn traffic_and_complaints(&mut self) -> (Vec<String>, Vec<String>) {
        // Whatever the page caused is told before the answer to this.
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
