//! End to end: real processes of the binaries, a real redis-server, fal's and OpenAI's own clients.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod branch;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod fleet_file;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod https;
#[cfg(test)]
mod hub;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod nginx;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod prompts;
#[cfg(test)]
mod recipes;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod results;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod sdk_openai;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod stack;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod webhooks;
