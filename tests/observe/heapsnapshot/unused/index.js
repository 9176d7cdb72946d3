module.exports = { KnownDevices: {} };
