"use strict";
// Plays from where one clicks, and shows where the sound is.
const [player, lanes, cursor] = ["player", "lanes", "cursor"].map((id) => document.getElementById(id));
if (player) {
  const [left, right, seconds] = ["left", "right", "seconds"].map((name) => Number(lanes.dataset[name]));
  const buttons = [...document.querySelectorAll("button[data-start]")];
  const seek = (to) => {
    player.currentTime = Math.min(Math.max(to, 0), seconds);
    player.play().catch(() => {});
  };
  lanes.addEventListener("click", (event) => {
    const box = lanes.getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width - left) / (right - left);
    if (part >= 0 && part <= 1) seek(part * seconds); // and not beside the axes
  });
  for (const button of buttons) button.addEventListener("click", () => seek(Number(button.dataset.start)));
  player.addEventListener("timeupdate", () => {
    const now = player.currentTime;
    cursor.hidden = false;
    cursor.style.left = `${100 * (left + now / seconds * (right - left))}%`;
    for (const { dataset, parentElement } of buttons) {
      parentElement.parentElement.classList.toggle("playing", dataset.start <= now && now < dataset.end);
    }
  });
}
