// Calls that wait until nothing more comes, such as saving what is being typed.

/**
 * Call a function once, some time after the last call; `now` calls it at once if it is due.
 * @param {() => Promise<void>} call
 * @param {number} milliseconds
 */
export function delayed(call, milliseconds) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  /** @type {Promise<void>} */
  let running = Promise.resolve();
  const run = () => {
    if (timer) clearTimeout(timer);
    timer = null;
    running = running.then(call);
    return running;
  };
  return {
    later() {
      if (timer) clearTimeout(timer);
      timer = setTimeout(run, milliseconds);
    },
    now: () => (timer ? run() : running),
    get due() {
      return timer !== null;
    },
  };
}
