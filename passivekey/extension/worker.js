// SPDX-License-Identifier: GPL-3.0-or-later
// Sets the cookies that the workstation's agent makes: at installation, at start-up and by an alarm. One source for Chromium, Edge (a service
// worker) and Firefox (an event page). It keeps nothing, and no page can ask it for anything.
"use strict";

const api = globalThis.browser ?? globalThis.chrome;
const HOST = "org.certlogon.passivekey";
const ALARM = "cookies";
const SHORTEST = 30; // seconds; browsers fire alarms no more often

let running = null;

function refresh() {
  running ??= ask().finally(() => {
    running = null;
  });
  return running;
}

async function ask() {
  let answer;
  try {
    answer = await api.runtime.sendNativeMessage(HOST, { want: "cookies" });
  } catch (error) {
    return tell(String(error?.message ?? error));
  }
  if (answer?.error || !Array.isArray(answer?.cookies)) {
    return tell(String(answer?.error ?? "the agent gave no answer"));
  }
  await wake(Math.max(SHORTEST, Number(answer.interval) || 60));
  const outcomes = await Promise.allSettled(answer.cookies.map(set));
  const failed = outcomes.filter((outcome) => outcome.status === "rejected" || !outcome.value);
  return tell(failed.length ? `the browser did not take ${failed.length} of ${outcomes.length} cookies` : "");
}

function set(cookie) {
  return api.cookies.set({
    url: `https://${cookie.site}/`,
    name: cookie.name,
    value: cookie.value,
    path: "/",
    secure: true,
    httpOnly: true,
    sameSite: "lax",
    expirationDate: cookie.expires,
  });
}

// what is wrong, at the button of the extension
async function tell(text) {
  await api.action.setBadgeText({ text: text ? "!" : "" });
  await api.action.setTitle({ title: text ? `PassiveKey: ${text}` : "PassiveKey" });
}

async function wake(seconds) {
  const alarm = await api.alarms.get(ALARM);
  if (alarm?.periodInMinutes !== seconds / 60) {
    await api.alarms.create(ALARM, { periodInMinutes: seconds / 60 });
  }
}

async function begin() {
  await wake(SHORTEST);
  await refresh();
}

api.runtime.onInstalled.addListener(begin);
api.runtime.onStartup.addListener(begin);
api.alarms.onAlarm.addListener((alarm) => {
  if (alarm.name === ALARM) {
    return refresh();
  }
});
api.action.onClicked.addListener(refresh);
