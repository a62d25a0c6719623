//! Python's tracebacks in a log: found, taken apart, and of a chain of exceptions the one that matters.
//!
//! ```text
//! Traceback (most recent call last):
//!   File "train.py", line 12, in step        frames: two spaces
//!     loss = model(batch)                    their code: four
//! KeyError: 'x'                              the exception: none
//!
//! During handling of the above exception, another exception occurred:      a chain goes on
//! ```
//!
//! Pitfall: processes that share a log write between each other's lines. Lines that fit nowhere are passed over.

/// What connects an exception with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing: the first of its chain.
    None,
    /// `raise … from …`.
    Cause,
    /// Raised while the one before was handled.
    During,
}

/// Who had nobody to catch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The program, as far as can be told.
    Main,
    /// Another thread than the main one.
    Thread,
    /// Nobody: it was ignored, in a destructor or at exit.
    Ignored,
}

/// A place in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) function: String,
    /// The code there, where the traceback has it.
    pub(super) code: String,
}

/// An exception as a traceback has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raised {
    /// Its class with its module: `torch.OutOfMemoryError`.
    pub(super) class: String,
    /// Its text; several lines, if it has them.
    pub(super) message: String,
    pub(super) frames: Vec<Frame>,
    pub(super) link: Link,
    pub(super) origin: Origin,
    /// The number of the line that names it.
    pub(super) at: usize,
    /// The number of its last line.
    pub(super) end: usize,
}

/// At most so many lines of an exception's text are kept.
const MESSAGE_LINES: usize = 8;
/// After so many lines that fit nowhere a traceback counts as torn.
const FOREIGN_LINES: usize = 30;
const START: &str = "Traceback (most recent call last):";

/// The chains of exceptions in these lines, oldest first; of each chain what was raised first is first.
pub(super) fn chains(lines: &[&str]) -> Vec<Vec<Raised>> {
    let mut chains: Vec<Vec<Raised>> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(start) = (at..lines.len()).find(|index| begins(lines[*index])) else {
            break;
        };
        let link = link_before(lines, start);
        let Some(mut raised) = one(lines, start) else {
            at = start + 1;
            continue;
        };
        at = raised.end + 1;
        raised.link = link;
        match chains.last_mut() {
            Some(chain) if link != Link::None => chain.push(raised),
            _ => {
                raised.link = Link::None;
                chains.push(vec![raised]);
            }
        }
    }
    chains
}

fn begins(line: &str) -> bool {
    line.ends_with(START)
}

/// What the line before a traceback says about it; blank lines don't count.
fn link_before(lines: &[&str], start: usize) -> Link {
    let before = lines[..start]
        .iter()
        .rev()
        .take(4)
        .map(|line| line.trim())
        .find(|line| !line.is_empty() && *line != "\"\"\"");
    match before {
        Some(line) if line.ends_with("the direct cause of the following exception:") => Link::Cause,
        Some(line) if line.ends_with("another exception occurred:") => Link::During,
        _ => Link::None,
    }
}

fn origin_before(lines: &[&str], start: usize) -> Origin {
    match start.checked_sub(1).map(|before| lines[before].trim()) {
        Some(line) if line.starts_with("Exception ignored in") => Origin::Ignored,
        Some(line) if line.starts_with("Exception in thread") => Origin::Thread,
        _ => Origin::Main,
    }
}

/// One traceback that begins at `start`; none if its exception isn't there.
fn one(lines: &[&str], start: usize) -> Option<Raised> {
    let indent = lines[start].len() - lines[start].trim_start().len();
    let mut frames: Vec<Frame> = Vec::new();
    let mut contiguous = true;
    let mut foreign = 0;
    let mut at = start + 1;
    while at < lines.len() {
        let line = cut_indent(lines[at], indent);
        if begins(line) {
            return None;
        }
        if let Some(frame) = frame(line) {
            frames.push(frame);
            contiguous = true;
        } else if line.starts_with("  ") || line.trim().is_empty() {
            if let Some(last) = frames.last_mut().filter(|last| last.code.is_empty())
                && line.starts_with("    ")
            {
                last.code = line.trim().to_owned();
            }
        } else if let Some((class, message)) = exception(line, contiguous) {
            let (message, end, nested) = rest_of_message(lines, at, indent, message);
            // Ray writes the frames of the other side into the message, and its exception behind them.
            if nested {
                frames.clear();
                contiguous = true;
                at = end + 1;
                continue;
            }
            return Some(Raised {
                class: class.to_owned(),
                message,
                frames,
                link: Link::None,
                origin: origin_before(lines, start),
                at,
                end,
            });
        } else {
            contiguous = false;
            foreign += 1;
            if foreign > FOREIGN_LINES {
                return None;
            }
        }
        at += 1;
    }
    None
}

fn cut_indent(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    &line[spaces.min(indent)..]
}

/// `  File "train.py", line 12, in step`.
fn frame(line: &str) -> Option<Frame> {
    let rest = line.strip_prefix("  File \"")?;
    let (file, rest) = rest.split_once("\", line ")?;
    let (line, function) = match rest.split_once(", in ") {
        Some((line, function)) => (line, function),
        None => (rest, ""),
    };
    Some(Frame {
        file: file.to_owned(),
        line: line.trim().parse().ok()?,
        function: function.to_owned(),
        code: String::new(),
    })
}

/// `ValueError: text` or `ValueError`. A line that does not follow on the traceback itself must look like nothing else.
fn exception(line: &str, contiguous: bool) -> Option<(&str, &str)> {
    let (class, message) = match line.find(": ") {
        Some(colon) => (&line[..colon], &line[colon + 2..]),
        None => (line.strip_suffix(':').unwrap_or(line), ""),
    };
    // `ray.exceptions.RayTaskError(ValueError)`.
    let name = class.split('(').next().unwrap_or(class);
    let fits = !name.is_empty()
        && name
            .split('.')
            .all(|part| !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit()))
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>'));
    let last = name.rsplit('.').next().unwrap_or(name);
    let sure = [
        "Error",
        "Exception",
        "Exit",
        "Interrupt",
        "Warning",
        "Failure",
    ]
    .iter()
    .any(|end| last.ends_with(end));
    (fits && (contiguous || sure)).then_some((class, message))
}

/// The whole message, the number of its last line, and whether it goes over into frames.
fn rest_of_message(lines: &[&str], at: usize, indent: usize, first: &str) -> (String, usize, bool) {
    let mut message = first.trim_end().to_owned();
    let mut end = at;
    for (index, line) in lines.iter().enumerate().skip(at + 1).take(MESSAGE_LINES) {
        let line = cut_indent(line, indent);
        if frame(line).is_some() {
            return (message, end, true);
        }
        let over = line.trim().is_empty()
            || begins(line)
            || line.starts_with("During handling of")
            || line.starts_with("The above exception")
            || line.starts_with("Exception ignored in")
            || line.starts_with("Exception in thread")
            || line.starts_with("=====")
            || line.starts_with("-----")
            || is_log_line(line);
        if over {
            break;
        }
        message.push('\n');
        message.push_str(line);
        end = index;
    }
    (message, end, false)
}

/// `E1119 08:26:02.715000 …`, `[W626 …`, `2026-01-01 …`, `INFO:…`: begins as loggers do.
fn is_log_line(line: &str) -> bool {
    let bare = line.trim_start_matches('[');
    let starts = |words: &[&str]| words.iter().any(|word| bare.starts_with(word));
    let glog = bare.len() > 4
        && bare.starts_with(['E', 'W', 'I', 'F'])
        && bare[1..].starts_with(|c: char| c.is_ascii_digit());
    let dated = bare.len() > 5
        && bare.is_char_boundary(4)
        && bare[..4].chars().all(|c| c.is_ascii_digit())
        && bare[4..].starts_with('-');
    glog || dated
        || starts(&[
            "INFO",
            "WARNING",
            "ERROR:",
            "DEBUG",
            "srun:",
            "slurmstepd:",
            "wandb:",
        ])
}

impl Raised {
    /// Its class without its module: `OutOfMemoryError`. A small word alone says too little: `struct.error` stays.
    pub(super) fn name(&self) -> &str {
        let class = self.class.split('(').next().unwrap_or(&self.class);
        match class.rsplit('.').next() {
            Some(last) if last.starts_with(|c: char| c.is_uppercase()) => last,
            _ => class,
        }
    }

    /// `ValueError: bad rate`, of a text with several lines the first.
    pub(super) fn words(&self) -> String {
        let first = self
            .message
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty());
        match (first, self.frames.last()) {
            (Some(first), _) => format!("{}: {first}", self.name()),
            (None, Some(frame)) if frame.code.starts_with("assert ") => {
                format!("{}: {}", self.name(), frame.code)
            }
            (None, _) => self.name().to_owned(),
        }
    }

    /// Where it came out of the user's own code: `train.py:12`.
    pub(super) fn place(&self) -> Option<String> {
        let foreign = [
            "/site-packages/",
            "/dist-packages/",
            "/lib/python3",
            "/lib64/python3",
        ];
        let own = |frame: &&Frame| {
            !frame.file.starts_with('<') && !foreign.iter().any(|part| frame.file.contains(part))
        };
        let frame = self.frames.iter().rev().find(own)?;
        let name = frame.file.rsplit('/').next()?;
        Some(format!("{name}:{}", frame.line))
    }
}

/// Of a chain the exception that matters, and the one to be named as its cause.
///
/// What was raised on purpose (`raise … from …`, or a `raise` in the handler's own function) says what its author wanted to
/// say. What happened by itself while another exception was handled is an accident of cleaning up; the first one matters then.
pub(super) fn that_matters(chain: &[Raised]) -> Option<(&Raised, Option<&Raised>)> {
    let mut at = chain.len().checked_sub(1)?;
    loop {
        let before = at.checked_sub(1).map(|before| &chain[before]);
        match (chain[at].link, before) {
            (Link::During, Some(before)) if !raised_in_handler(&chain[at], before) => at -= 1,
            (Link::Cause, Some(before)) if before.words() != chain[at].words() => {
                return Some((&chain[at], Some(before)));
            }
            (Link::During, Some(_)) | (Link::Cause, Some(_)) | (_, None) => {
                return Some((&chain[at], None));
            }
            (Link::None, Some(_)) => return Some((&chain[at], None)),
        }
    }
}

/// The later exception was raised by a `raise` of a function in which the earlier one had come by.
fn raised_in_handler(later: &Raised, earlier: &Raised) -> bool {
    later.frames.last().is_some_and(|last| {
        last.code.starts_with("raise")
            && earlier
                .frames
                .iter()
                .any(|frame| frame.file == last.file && frame.function == last.function)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains_of(text: &str) -> Vec<Vec<Raised>> {
        let lines: Vec<&str> = text.lines().collect();
        chains(&lines)
    }

    fn told(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
        chains_of(text)
            .iter()
            .filter_map(|chain| that_matters(chain))
            .map(|(raised, because)| (raised.words(), raised.place(), because.map(Raised::words)))
            .collect()
    }

    #[test]
    fn a_plain_one() {
        let text = "\
epoch 1
Traceback (most recent call last):
  File \"/scratch/train.py\", line 30, in <module>
    main()
    ~~~~^^
  File \"/scratch/train.py\", line 12, in main
    raise ValueError(\"bad rate\")
  File \"/usr/lib/python3.11/json/decoder.py\", line 355, in raw_decode
    raise x
ValueError: bad rate
";
        let found = chains_of(text);
        assert_eq!((found.len(), found[0].len()), (1, 1));
        assert_eq!(found[0][0].frames.len(), 3);
        assert_eq!(found[0][0].frames[1].code, "raise ValueError(\"bad rate\")");
        assert_eq!(found[0][0].end, 9);
        assert_eq!(
            told(text),
            [(
                "ValueError: bad rate".to_owned(),
                Some("train.py:12".to_owned()),
                None
            )]
        );
    }

    #[test]
    fn of_a_chain_the_one_that_matters() {
        let from = "\
Traceback (most recent call last):
  File \"a.py\", line 3, in load
    return table[name]
KeyError: 'lr'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File \"a.py\", line 9, in main
    load()
  File \"a.py\", line 5, in load
    raise RuntimeError('no rate') from error
RuntimeError: no rate
";
        assert_eq!(
            told(from),
            [(
                "RuntimeError: no rate".to_owned(),
                Some("a.py:5".to_owned()),
                Some("KeyError: 'lr'".to_owned())
            )]
        );
        let on_purpose = from
            .replace(
                "The above exception was the direct cause of the following exception:",
                "During handling of the above exception, another exception occurred:",
            )
            .replace(" from error", "");
        assert_eq!(told(&on_purpose)[0].0, "RuntimeError: no rate");
        let accident = on_purpose
            .replace("    raise RuntimeError('no rate')\n", "    cleanup()\n  File \"b.py\", line 7, in cleanup\n    raise RuntimeError('no rate')\n");
        assert_eq!(told(&accident)[0].0, "KeyError: 'lr'");
    }

    #[test]
    fn messages_of_several_lines_and_nested_ones() {
        let text = "\
Traceback (most recent call last):
  File \"t.py\", line 1, in <module>
    x.cuda()
RuntimeError: CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1

E1119 08:26:02.715000 28705 api.py:882] failed
";
        let found = chains_of(text);
        assert_eq!(found[0][0].message.lines().count(), 3);
        let loader = "\
Traceback (most recent call last):
  File \"t.py\", line 8, in <module>
    for batch in loader:
RuntimeError: Caught IndexError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File \"/x/site-packages/torch/utils/data/_utils/worker.py\", line 309, in _worker_loop
    data = fetcher.fetch(index)
  File \"data.py\", line 4, in __getitem__
    return self.rows[i]
IndexError: list index out of range
";
        assert_eq!(
            told(loader).last().unwrap(),
            &(
                "IndexError: list index out of range".to_owned(),
                Some("data.py:4".to_owned()),
                None
            )
        );
        let ray = "\
Traceback (most recent call last):
  File \"driver.py\", line 9, in <module>
    ray.get(f.remote())
ray.exceptions.RayTaskError(ValueError): ray::f() (pid=71, ip=10.0.0.2)
  File \"driver.py\", line 4, in f
    raise ValueError('no')
ValueError: no
";
        assert_eq!(told(ray)[0].0, "ValueError: no");
    }

    #[test]
    fn torn_indented_and_interleaved_ones() {
        assert_eq!(
            chains_of("Traceback (most recent call last):\n  File \"a\", line 1, in f\n").len(),
            0
        );
        let mixed = "\
Traceback (most recent call last):
  File \"a.py\", line 1, in f
rank 3: step 7, loss 1.5
    g()
  File \"a.py\", line 2, in g
ZeroDivisionError: division by zero
";
        assert_eq!(told(mixed)[0].0, "ZeroDivisionError: division by zero");
        let indented = "\
exitcode  : 1
  traceback : Traceback (most recent call last):
    File \"a.py\", line 1, in f
      g()
  OSError: [Errno 28] No space left on device
  
============";
        assert_eq!(
            (told(indented)[0].0.as_str(), told(indented)[0].1.as_deref()),
            (
                "OSError: [Errno 28] No space left on device",
                Some("a.py:1")
            )
        );
        let syntax = "\
Traceback (most recent call last):
  File \"b.py\", line 1, in <module>
    import a
  File \"/w/a.py\", line 3
    def f(:
          ^
SyntaxError: invalid syntax
";
        assert_eq!(told(syntax)[0].1.as_deref(), Some("a.py:3"));
        let threads = "\
Exception in thread Thread-1:
Traceback (most recent call last):
  File \"a.py\", line 1, in f
ValueError: x
Exception ignored in: <function D.__del__ at 0x7f>
Traceback (most recent call last):
  File \"a.py\", line 2, in __del__
AttributeError: y
";
        let origins: Vec<Origin> = chains_of(threads)
            .iter()
            .map(|chain| chain[0].origin)
            .collect();
        assert_eq!(origins, [Origin::Thread, Origin::Ignored]);
        let bare = "Traceback (most recent call last):\n  File \"a.py\", line 2, in f\n    assert x > 0\nAssertionError\n";
        assert_eq!(told(bare)[0].0, "AssertionError: assert x > 0");
    }
}
