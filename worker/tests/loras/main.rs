//! LoRAs, embeddings and ControlNets of URLs and of the Hub: what is downloaded, kept and refused.

#[cfg(test)]
mod controlnets;
#[cfg(test)]
mod downloads;
#[cfg(test)]
mod hub;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod props;
