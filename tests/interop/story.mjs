// What each library does on its bound connection, whichever way it does that: every script beside this one hands its own.

/** Calls, fails, notifies and is told something; prints what came of it as one line of JSON. */
export async function tell(client) {
  const came = {};
  came.by_position = await client.request("subtract", [42, 23]);
  came.by_name = await client.request("subtract", { subtrahend: 23, minuend: 42 });
  came.at_once = await Promise.all(["a", "b", "c"].map((text) => client.request("echo", { text })));
  came.owners_error = await errorOf(client.request("fail", { page: 9 }));
  came.routers_error = (await errorOf(client.request("rpc.no_such", {}))).code;
  const pushes = [client.nextPush("changed"), client.nextPush("changed")];
  client.notify("note", { text: "nobody answers this" });
  came.subscribed = await client.request("subscribe", { count: 2 });
  came.pushes = await Promise.all(pushes);
  const parts = [client.nextPush("$/progress"), client.nextPush("$/progress")];
  came.counted = await client.request("count", { to: 2 });
  came.parts = (await Promise.all(parts)).map(({ value }) => value);
  console.log(JSON.stringify(came));
}

/** The code, the message and the data of the error that a request ends with. */
export async function errorOf(request) {
  try {
    return { result: await request };
  } catch ({ code, message, data }) {
    return { code, message, data };
  }
}

/** Keeps pushes until they are asked for, and who asks until they come. */
export class Pushes {
  #come = new Map();
  #waiting = new Map();

  push(method, params) {
    const first = this.#of(this.#waiting, method).shift();
    if (first) first(params);
    else this.#of(this.#come, method).push(params);
  }

  next(method) {
    const come = this.#of(this.#come, method);
    if (come.length) return Promise.resolve(come.shift());
    return new Promise((resolve) => this.#of(this.#waiting, method).push(resolve));
  }

  #of(lists, method) {
    if (!lists.has(method)) lists.set(method, []);
    return lists.get(method);
  }
}
