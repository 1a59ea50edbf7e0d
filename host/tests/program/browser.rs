//! A headless Chromium, driven by its debugging protocol over a pair of named pipes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::skipped;

const PATIENCE: Duration = Duration::from_mins(2);

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    /// What the page did and nobody has asked for yet.
    events: VecDeque<Value>,
    session: Option<String>,
    next: u64,
    _home: tempfile::TempDir,
}

/// The browser that `LORAHOST_TEST_BROWSER` names; without it `test` is skipped.
pub fn browser(test: &str) -> Option<Browser> {
    let Some(path) = std::env::var_os("LORAHOST_TEST_BROWSER") else {
        skipped(test, "LORAHOST_TEST_BROWSER is not set");
        return None;
    };
    Some(Browser::start(Path::new(&path)))
}

impl Browser {
    fn start(path: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pipes: Vec<PathBuf> = ["in", "out"].map(|name| home.path().join(name)).to_vec();
        assert!(
            Command::new("mkfifo")
                .args(&pipes)
                .status()
                .unwrap()
                .success()
        );
        // Chromium reads from descriptor 3 and writes to 4; a shell can open them.
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$PIPE_IN\" 4>\"$PIPE_OUT\""])
            .arg(path)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .arg(format!(
                "--user-data-dir={}",
                home.path().join("profile").display()
            ))
            .env("PIPE_IN", &pipes[0])
            .env("PIPE_OUT", &pipes[1])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = File::options().write(true).open(&pipes[0]).unwrap();
        let mut messages = BufReader::new(File::open(&pipes[1]).unwrap());
        let (send, answers) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while messages
                .read_until(0, &mut message)
                .is_ok_and(|read| read > 0)
            {
                message.pop();
                let value = serde_json::from_slice(&message).unwrap();
                message.clear();
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            answers,
            events: VecDeque::new(),
            session: None,
            next: 0,
            _home: home,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method and waits for its answer.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = self.receive(method);
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push_back(answer);
        }
    }

    /// Sets the size of the window and whether the paper is dark.
    pub fn window(&mut self, width: u32, height: u32, dark: bool) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        let url = format!("file://{}", file.canonicalize().unwrap().display());
        self.call("Page.navigate", &json!({"url": url}));
        self.wait_for("Page.loadEventFired");
    }

    /// Waits for the next event of this name.
    pub fn wait_for(&mut self, method: &str) {
        if let Some(event) = self
            .events
            .iter()
            .position(|event| event["method"] == method)
        {
            self.events.remove(event);
            return;
        }
        loop {
            let event = self.receive(method);
            if event["method"] == method {
                return;
            }
            self.events.push_back(event);
        }
    }

    /// The value of an expression.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Moves the pointer to the middle of the first element that a selector finds, and presses it if asked to.
    pub fn point(&mut self, selector: &str, press: bool) {
        let expression = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{block: 'center', behavior: 'instant'}}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }})()",
            json!(selector)
        );
        let place = self.evaluate(&expression);
        let mut event = |kind: &str| {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        };
        event("mouseMoved");
        if press {
            event("mousePressed");
            event("mouseReleased");
        }
    }

    /// All that was said on the console, thrown, refused or asked for, but the page itself.
    pub fn complaints(&mut self) -> Vec<String> {
        // What the page has begun is heard before the answer to this.
        self.evaluate("new Promise(done => setTimeout(done, 200))");
        let told = self
            .events
            .iter()
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                    true
                }
                Some("Network.requestWillBeSent") => {
                    let parameters = &event["params"];
                    parameters["type"] != "Document" && parameters["request"]["url"] != "data:,"
                }
                _ => false,
            });
        told.map(ToString::to_string).collect()
    }

    /// A picture of the whole page, into the folder that `LORAHOST_TEST_SCREENSHOTS` names, if it does.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("LORAHOST_TEST_SCREENSHOTS") else {
            return;
        };
        let picture = self.call(
            "Page.captureScreenshot",
            &json!({"captureBeyondViewport": true}),
        );
        let picture = picture["data"].as_str().unwrap();
        let path = Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, STANDARD.decode(picture).unwrap()).unwrap();
    }

    fn receive(&mut self, waiting_for: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.answers.recv_timeout(left);
        answer.unwrap_or_else(|error| panic!("waiting for {waiting_for}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
