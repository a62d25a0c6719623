//! `mizzen tunnel`: the connections to other machines.

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use mizzen_core::context::Context;
use mizzen_core::model::Timestamp;
use mizzen_core::tunnel::{Cmd, Login, OpenMaster, SshTunnel, Tunnel, TunnelError, open_masters};

use crate::output::Output;
use crate::reach::{exit_status, login, report};
use crate::render::documents::{Layout, TunnelDocument, TunnelState, TunnelsDocument, json};
use crate::render::table::{Cell, Column, Table};
use crate::render::time::{ago, duration};
use crate::render::{Outcome, Show, View, style};
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// A connection over which not even `true` ends within this time does not work.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// Opens, lists, checks and closes connections to other machines
///
/// A connection is one login with your own `ssh`, its configuration, agent and jump hosts, that everything else then goes
/// through: a password or a one-time code is asked for once. A master connection of your own (ControlMaster in
/// ~/.ssh/config) is used if it is open.
#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the connections that mizzen has opened
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        shape: Shape,
    },
    /// Opens a connection; asks for a password or code if this is a terminal
    Open {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        shape: Shape,
    },
    /// Closes a connection; what runs over it is cut off
    Close {
        #[command(flatten)]
        place: AnyPlace,
        /// Close all
        #[arg(long, conflicts_with = "host")]
        all: bool,
        #[command(flatten)]
        shape: Shape,
    },
    /// Runs a command over a connection, or over each, and tries mizzen's agent there; never logs in
    Check {
        #[command(flatten)]
        place: AnyPlace,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Args)]
struct Shape {
    /// Print JSON (schema: `mizzen schema tunnel`)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Place {
    /// The machine, a name of ~/.ssh/config or of the network
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    host: String,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct AnyPlace {
    /// The machine, as `mizzen tunnel list` names it
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    host: Option<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct Way {
    /// The file of a private key
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Option<Utf8PathBuf>,
    /// Another file than ~/.ssh/config
    #[arg(short = 'F', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ssh_config: Option<Utf8PathBuf>,
}

/// Does what is asked with connections.
///
/// # Errors
/// A place can't be reached or does not let us in, or its settings are wrong.
pub(crate) fn run(args: TunnelArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::usage(format!("can't wait for programs: {error}")))?;
    let context = &surroundings.context;
    let output = &surroundings.output;
    runtime.block_on(async {
        match args.action {
            Action::List { shape } => {
                let masters = open_masters(context).await.map_err(report)?;
                Ok(shown(
                    masters.iter().map(of_master).collect(),
                    shape,
                    Status::Succeeded,
                ))
            }
            Action::Open { place, shape } => {
                let tunnel = settings(&place.host, &place.way, context)?;
                let document = open(&tunnel, context, output).await.map_err(report)?;
                Ok(shown(vec![document], shape, Status::Succeeded))
            }
            Action::Close { place, all, shape } => {
                if place.host.is_none() && !all {
                    return Err(Report::usage("which connection?")
                        .hint("name a HOST, or close `--all`; `mizzen tunnel list` lists them"));
                }
                let chosen = chosen(&place, context).await?;
                let mut closed = Vec::new();
                for tunnel in chosen {
                    let was_open = tunnel.close(context).await.map_err(report)?;
                    if !was_open {
                        output.say(&format!(
                            "no connection of mizzen's to {} is open",
                            tunnel.name()
                        ));
                    }
                    closed.push(document(&tunnel, TunnelState::Closed, None));
                }
                Ok(shown(closed, shape, Status::Succeeded))
            }
            Action::Check { place, shape } => {
                let mut status = Status::Succeeded;
                let mut checked = Vec::new();
                for tunnel in chosen(&place, context).await? {
                    let found = match check(&tunnel, context).await {
                        Ok(found) => found,
                        Err(error) => {
                            status = exit_status(&error);
                            TunnelDocument {
                                error: Some(error.to_string()),
                                hint: error.hint(),
                                ..document(&tunnel, TunnelState::Closed, None)
                            }
                        }
                    };
                    checked.push(found);
                }
                Ok(shown(checked, shape, status))
            }
        }
    })
}

async fn open(
    tunnel: &SshTunnel,
    context: &Context,
    output: &Output,
) -> Result<TunnelDocument, TunnelError> {
    let connection = tunnel
        .connect(context, login(output), &|words| output.relay(words))
        .await?;
    let (name, how) = (
        tunnel.name(),
        if connection.is_ours() {
            ""
        } else {
            ", by a master of your own"
        },
    );
    output.say(&if connection.is_fresh() {
        format!("connected to {name}")
    } else {
        format!("{name} is connected already{how}")
    });
    measured(tunnel, &connection, context).await
}

/// Runs `true` over a connection that is open, as executors do: by the agent, where it runs.
async fn check(tunnel: &SshTunnel, context: &Context) -> Result<TunnelDocument, TunnelError> {
    let channel = tunnel.open(context, Login::Never);
    let agent = channel.agent().await?.is_some();
    let document = measured(tunnel, &*channel, context).await?;
    Ok(TunnelDocument {
        agent: Some(agent),
        ..document
    })
}

/// Runs `true` and says how long it took.
async fn measured(
    tunnel: &SshTunnel,
    over: &dyn Tunnel,
    context: &Context,
) -> Result<TunnelDocument, TunnelError> {
    let began = Instant::now();
    let command = Cmd::new(["true"]).timeout(CHECK_LIMIT);
    over.run(&command).await?.ok(&command)?;
    let round_trip = began.elapsed().as_secs_f64();
    let connection = tunnel.connect(context, Login::Never, &|_| {}).await?;
    let masters = open_masters(context).await?;
    let opened = masters
        .iter()
        .find(|master| master.tunnel == *tunnel)
        .map(|master| master.opened);
    Ok(TunnelDocument {
        ours: connection.is_ours(),
        round_trip: Some(round_trip),
        ..document(
            tunnel,
            TunnelState::Open,
            opened.filter(|_| connection.is_ours()),
        )
    })
}

/// The named connection, or all of ours.
async fn chosen(place: &AnyPlace, context: &Context) -> Result<Vec<SshTunnel>, Report> {
    let masters = open_masters(context).await.map_err(report)?;
    let Some(host) = &place.host else {
        return Ok(masters.into_iter().map(|master| master.tunnel).collect());
    };
    let wanted = settings(host, &place.way, context)?;
    let plain = place.way.identity.is_none() && place.way.ssh_config.is_none();
    let named: Vec<SshTunnel> = masters
        .into_iter()
        .map(|master| master.tunnel)
        .filter(|tunnel| plain && tunnel.name() == wanted.name())
        .collect();
    Ok(if named.is_empty() {
        vec![wanted]
    } else {
        named
    })
}

/// What is written on the command line as settings.
fn settings(text: &str, way: &Way, context: &Context) -> Result<SshTunnel, Report> {
    let (user, host) = match text.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, text),
    };
    // More than one colon is an address.
    let (host, port) = match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => {
            let port = port.parse().map_err(|_| {
                Report::usage(format!("`{port}` is no port")).hint("write HOST or HOST:PORT")
            })?;
            (name, Some(port))
        }
        _ => (host, None),
    };
    let absolute =
        |path: &Option<Utf8PathBuf>| path.as_ref().map(|path| context.workdir.join(path));
    Ok(SshTunnel {
        user,
        port,
        identity: absolute(&way.identity),
        ssh_config: absolute(&way.ssh_config),
        ..SshTunnel::new(host)
    })
}

fn document(tunnel: &SshTunnel, state: TunnelState, opened: Option<Timestamp>) -> TunnelDocument {
    TunnelDocument {
        name: tunnel.name(),
        state,
        ours: true,
        opened: opened.map(|time| time.to_text()),
        round_trip: None,
        agent: None,
        error: None,
        hint: None,
    }
}

fn of_master(master: &OpenMaster) -> TunnelDocument {
    let state = match master.process {
        Some(_) => TunnelState::Open,
        None => TunnelState::Closed,
    };
    document(&master.tunnel, state, Some(master.opened))
}

fn shown(tunnels: Vec<TunnelDocument>, shape: Shape, status: Status) -> Outcome {
    Outcome::show(Tunnels(TunnelsDocument { tunnels }), shape.json).with_status(status)
}

struct Tunnels(TunnelsDocument);

impl Show for Tunnels {
    fn text(&self, view: &View) -> String {
        if self.0.tunnels.is_empty() {
            return "no connection is open\n".to_owned();
        }
        let mut table = Table::new([
            Column::new("HOST"),
            Column::new("STATE"),
            Column::new("OPENED"),
            Column::new("ROUND TRIP").right(),
            Column::new("AGENT"),
            Column::new("WHY").may_be_cut(),
        ]);
        for tunnel in &self.0.tunnels {
            let (word, style) = match tunnel.state {
                TunnelState::Open => ("open", style::GOOD),
                TunnelState::Closed => ("closed", style::FAINT),
            };
            let opened: Option<jiff::Timestamp> =
                tunnel.opened.as_ref().and_then(|text| text.parse().ok());
            let opened = opened.map(Timestamp::from_jiff);
            table.row([
                Cell::styled(&tunnel.name, style::STRONG),
                Cell::styled(word, style),
                opened
                    .map(|time| ago(time, view.now))
                    .unwrap_or_default()
                    .into(),
                tunnel.round_trip.map(duration).unwrap_or_default().into(),
                match tunnel.agent {
                    Some(true) => Cell::from("runs"),
                    Some(false) => Cell::styled("can't run", style::WARNING),
                    None => Cell::from(""),
                },
                tunnel.error.clone().unwrap_or_default().into(),
            ]);
        }
        let mut text = table.render(&view.page);
        for hint in self
            .0
            .tunnels
            .iter()
            .filter_map(|tunnel| tunnel.hint.as_ref())
        {
            text.push_str(&format!(
                "{} {hint}\n",
                view.page.paint(style::HINT, "hint:")
            ));
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.0)
    }
}
