// The clock of the replay: a moment in seconds, moved by frames while it plays, told to whoever listens.

const replay = {
  time: 0,
  end: 0,
  playing: false,
  speed: 1,
  frames: 0, // drawn while playing
  listeners: [],
};

let lastFrame = null;

function startReplay(end) {
  pause();
  replay.end = end;
  seek(end); // a reading opens as a whole
}

function seek(time) {
  replay.time = Math.min(replay.end, Math.max(0, time));
  for (const listener of replay.listeners) listener();
}

function play() {
  if (replay.playing || replay.end <= 0) return;
  if (replay.time >= replay.end) replay.time = 0;
  replay.playing = true;
  lastFrame = null;
  requestAnimationFrame(frame);
  seek(replay.time);
}

function pause() {
  if (!replay.playing) return;
  replay.playing = false;
  seek(replay.time);
}

function frame(now) {
  if (!replay.playing) return;
  replay.frames += 1;
  // a page in the background gets no frames: the clock stands still there and does not jump afterwards
  const passed = lastFrame === null ? 0 : Math.min(0.25, (now - lastFrame) / 1000);
  lastFrame = now;
  if (replay.time + passed * replay.speed >= replay.end) replay.playing = false;
  seek(replay.time + passed * replay.speed);
  if (replay.playing) requestAnimationFrame(frame);
}

/** To the onset of the fixation before or after this moment, among all readings that are shown. */
function stepFixation(direction, shown) {
  pause();
  const onsets = shown.flatMap((reading) => {
    const { table, n } = gazeOf(reading);
    return Array.from({ length: n }, (_, k) => table[k * FIELDS + ONSET]);
  });
  const steps = onsets.filter((onset) => (direction > 0 ? onset > replay.time : onset < replay.time));
  if (steps.length) seek(direction > 0 ? Math.min(...steps) : Math.max(...steps));
  else seek(direction > 0 ? replay.end : 0);
}
