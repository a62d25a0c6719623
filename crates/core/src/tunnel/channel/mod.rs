//! A tunnel to another machine that connects when it is first used.

use async_trait::async_trait;
use camino::Utf8PathBuf;

use super::{Cmd, Ended, Input, Login, Output, SshConnection, SshTunnel, Tunnel, TunnelError};
use crate::context::Context;

/// See the module.
pub(super) struct Channel {
    settings: SshTunnel,
    context: Context,
    connection: tokio::sync::OnceCell<SshConnection>,
}

impl Channel {
    pub(super) fn new(settings: &SshTunnel, context: &Context) -> Channel {
        Channel {
            settings: settings.clone(),
            context: context.clone(),
            connection: tokio::sync::OnceCell::new(),
        }
    }

    async fn connection(&self) -> Result<&SshConnection, TunnelError> {
        let connect = async || {
            self.settings
                .connect(&self.context, Login::Silent, &|_| {})
                .await
        };
        self.connection.get_or_try_init(connect).await
    }
}

#[async_trait]
impl Tunnel for Channel {
    fn name(&self) -> String {
        self.settings.name()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        self.connection().await?.agent().await
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        let connection = self.connection().await?;
        connection.exec(command, input, output).await
    }
}
